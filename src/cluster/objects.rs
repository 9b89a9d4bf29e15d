//! Reading and writing raw objects.

use futures::stream::{Stream, TryStreamExt};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::page::{self, ItemType};
use super::request::{Call, path};
use super::{Cluster, ClusterError};
use crate::object::Object;
use crate::surface::ApiResource;

/// Objects on the first page of a list. Nobody knows yet how large they are: at most 1.5 MiB each, and a
/// page is held whole.
const FIRST_PAGE: usize = 100;
/// Objects on later pages, chosen so that a page has about this many bytes: large enough for the way there
/// and back not to count, small enough that a page does not decide how much memory Ferry needs.
const PAGE_BYTES: usize = 4 << 20;
const SMALLEST_PAGE: usize = 10;
const LARGEST_PAGE: usize = 1000;
/// How many times larger than the one before a page may be, as the objects on it may be larger too.
const GROWTH: usize = 4;

/// How often a listing starts again when its pages have expired under it (410).
const RESTARTS: usize = 3;

/// Where one object is: its resource, its namespace and its name.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The resource, as discovery gave it.
    pub resource: &'a ApiResource,
    /// Its namespace; `None` for cluster-scoped ones.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Place<'a> {
    /// The place of an object one has.
    pub fn of(resource: &'a ApiResource, object: &'a Object) -> Self {
        Self {
            resource,
            namespace: object.namespace(),
            name: object.name(),
        }
    }

    /// As messages name it: `Deployment.apps shop/web`.
    fn text(&self) -> String {
        let kind = self.resource.group_kind();
        match self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name),
            None => format!("{kind} {}", self.name),
        }
    }

    fn path(&self, subresource: Option<&str>, query: &[(&str, &str)]) -> String {
        let mut segments = collection(self.resource, self.namespace);
        segments.push(self.name);
        segments.extend(subresource);
        path(&segments, query)
    }
}

/// Path segments of a collection.
pub(super) fn collection<'a>(
    resource: &'a ApiResource,
    namespace: Option<&'a str>,
) -> Vec<&'a str> {
    let mut segments = match resource.group.as_str() {
        "" => vec!["api", resource.version.as_str()],
        group => vec!["apis", group, resource.version.as_str()],
    };
    if let Some(namespace) = namespace.filter(|_| resource.namespaced) {
        segments.extend(["namespaces", namespace]);
    }
    segments.push(&resource.plural);
    segments
}

/// As messages name a collection: `secrets in namespace shop`.
pub(super) fn collection_text(resource: &ApiResource, namespace: Option<&str>) -> String {
    let plural = match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    match namespace {
        Some(namespace) => format!("{plural} in namespace {namespace}"),
        None => plural,
    }
}

/// Which objects of a collection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// A label selector; `None` for all.
    pub labels: Option<String>,
    /// A field selector; `None` for all.
    pub fields: Option<String>,
}

impl ListOptions {
    /// As parameters of a request.
    pub(super) fn selectors(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let labels = self.labels.as_deref().map(|text| ("labelSelector", text));
        let fields = self.fields.as_deref().map(|text| ("fieldSelector", text));
        labels.into_iter().chain(fields)
    }
}

/// How to apply.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Whether to take fields from other managers instead of reporting a conflict (W-13).
    pub force: bool,
    /// Whether the server only says what it would do.
    pub dry_run: bool,
}

/// A change to some fields of an object.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902: a list of operations; a failed `test` changes nothing and answers 422.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
}

/// What must still be true of an object for it to be deleted, and what becomes of its dependents.
#[derive(Clone, Debug, Default)]
pub struct Delete {
    /// Its UID, so that a namesake is spared.
    pub uid: Option<String>,
    /// Its resource version, so that a changed object is spared.
    pub resource_version: Option<String>,
    /// Whether dependents are left alone; else they are deleted in the background.
    pub orphan: bool,
}

impl Cluster {
    /// Reads one object; `None` when it, its namespace or its kind is not there.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses.
    pub async fn get(&self, place: Place<'_>) -> Result<Option<Object>, ClusterError> {
        let call = Call::get(place.path(None, &[]), "get", place.text());
        match self.call_json(&call).await {
            Ok(value) => self.object(&call, value).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists objects in a namespace, or over the whole cluster when that is `None`.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses; 404 when the kind is not served.
    pub async fn list(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<Vec<Object>, ClusterError> {
        let mut restarts = 0;
        loop {
            let pages = self.pages(resource, namespace, options);
            match pages.try_concat().await {
                // Pages show one moment; when the server has forgotten it, begin with a new one.
                Err(error) if error.is_expired() && restarts < RESTARTS => restarts += 1,
                result => return result,
            }
        }
    }

    /// The pages of a listing, all of one resource version. While one is parsed, the next is fetched.
    pub fn pages<'a>(
        &'a self,
        resource: &'a ApiResource,
        namespace: Option<&'a str>,
        options: &'a ListOptions,
    ) -> impl Stream<Item = Result<Vec<Object>, ClusterError>> + 'a {
        let list = List {
            cluster: self,
            resource,
            namespace,
            options,
        };
        futures::stream::try_unfold(Next::First, move |next| async move {
            let page = match next {
                Next::First => list.fetch(FIRST_PAGE, None).await?,
                Next::Fetched(page) => page,
                Next::None => return Ok(None),
            };
            list.read(page).await.map(Some)
        })
    }

    /// Server-side apply: creates the object or changes the fields it names. The body must not hold
    /// `managedFields`, `uid` or `deletionTimestamp` (S-40).
    ///
    /// # Errors
    /// When the cluster does not answer or refuses; 409 lists the fields other managers own.
    pub async fn apply(
        &self,
        resource: &ApiResource,
        object: &Object,
        options: &ApplyOptions<'_>,
    ) -> Result<Object, ClusterError> {
        match self.apply_once(resource, object, options).await {
            // A field Ferry gave back when it undid a run is Ferry's by `Update`, and the server takes
            // that for another manager.
            Err(error) if !options.force && only_with(&error, options.manager) => {
                let options = ApplyOptions {
                    force: true,
                    ..*options
                };
                self.apply_once(resource, object, &options).await
            }
            answer => answer,
        }
    }

    async fn apply_once(
        &self,
        resource: &ApiResource,
        object: &Object,
        options: &ApplyOptions<'_>,
    ) -> Result<Object, ClusterError> {
        let place = Place::of(resource, object);
        let force = if options.force { "true" } else { "false" };
        let mut query = vec![
            ("fieldManager", options.manager),
            ("force", force),
            // An unknown field is a mistake of ours or a loss of the user's: never silent.
            ("fieldValidation", "Strict"),
        ];
        if options.dry_run {
            query.push(("dryRun", "All"));
        }
        let verb = if options.dry_run {
            "dry-run apply"
        } else {
            "apply"
        };
        let call = Call::new(Method::PATCH, place.path(None, &query), verb, place.text())
            .body("application/apply-patch+yaml", object.value());
        let value = self.call_json(&call).await?;
        self.object(&call, value)
    }

    /// Creates an object that must not exist.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses; `AlreadyExists` when it is there. A connection
    /// that broke is not tried again, as the object may have been made.
    pub async fn create(
        &self,
        resource: &ApiResource,
        object: &Object,
        manager: &str,
    ) -> Result<Object, ClusterError> {
        self.post(resource, object, manager, "create", &[]).await
    }

    /// What [`Self::create`] would come to; nothing is made.
    ///
    /// # Errors
    /// As the real one.
    pub async fn would_create(
        &self,
        resource: &ApiResource,
        object: &Object,
        manager: &str,
    ) -> Result<Object, ClusterError> {
        let dry = [("dryRun", "All")];
        self.post(resource, object, manager, "dry-run create", &dry)
            .await
    }

    async fn post(
        &self,
        resource: &ApiResource,
        object: &Object,
        manager: &str,
        verb: &'static str,
        more: &[(&str, &str)],
    ) -> Result<Object, ClusterError> {
        let place = Place::of(resource, object);
        let mut query = vec![("fieldManager", manager), ("fieldValidation", "Strict")];
        query.extend(more);
        let target = path(&collection(resource, place.namespace), &query);
        let call = Call::new(Method::POST, target, verb, place.text())
            .body("application/json", object.value());
        let value = self.call_json(&call).await?;
        self.object(&call, value)
    }

    /// Changes fields of an object or of one of its sub-resources, and gives the answer as it is:
    /// for `scale` that is a `Scale`, not the object.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses.
    pub async fn patch(
        &self,
        place: Place<'_>,
        subresource: Option<&str>,
        patch: &Patch,
        manager: &str,
    ) -> Result<Object, ClusterError> {
        let (content_type, body) = match patch {
            Patch::Json(body) => ("application/json-patch+json", body),
            Patch::Merge(body) => ("application/merge-patch+json", body),
        };
        let target = place.path(subresource, &[("fieldManager", manager)]);
        let mut call = Call::new(Method::PATCH, target, "patch", place.text());
        call = call.body(content_type, body);
        // A list of operations may append; only the caller knows whether twice is once.
        call.repeatable = matches!(patch, Patch::Merge(_));
        let value = self.call_json(&call).await?;
        self.object(&call, value)
    }

    /// Deletes an object; `false` when it was gone already.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses; a conflict when a precondition does not hold.
    pub async fn delete(&self, place: Place<'_>, delete: &Delete) -> Result<bool, ClusterError> {
        let mut preconditions = serde_json::Map::new();
        for (key, value) in [
            ("uid", &delete.uid),
            ("resourceVersion", &delete.resource_version),
        ] {
            if let Some(value) = value {
                preconditions.insert(key.into(), value.clone().into());
            }
        }
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": if delete.orphan { "Orphan" } else { "Background" },
        });
        let call = Call::new(
            Method::DELETE,
            place.path(None, &[]),
            "delete",
            place.text(),
        )
        .body("application/json", &body);
        match self.call(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks a virtual resource, such as an access review, that is answered and not stored.
    pub(super) async fn ask(
        &self,
        path: &str,
        verb: &'static str,
        about: String,
        question: &Value,
    ) -> Result<Value, ClusterError> {
        let mut call =
            Call::new(Method::POST, path, verb, about).body("application/json", question);
        call.repeatable = true;
        self.call_json(&call).await
    }

    pub(super) fn object(&self, call: &Call, value: Value) -> Result<Object, ClusterError> {
        Object::new(value).map_err(|source| self.malformed(call, source))
    }
}

/// A listing under way.
#[derive(Clone, Copy)]
struct List<'a> {
    cluster: &'a Cluster,
    resource: &'a ApiResource,
    namespace: Option<&'a str>,
    options: &'a ListOptions,
}

/// A page as it came.
struct Fetched {
    call: Call,
    /// Objects that were asked for.
    limit: usize,
    body: Vec<u8>,
}

/// What follows a page that was read.
enum Next {
    /// The first page.
    First,
    /// This one.
    Fetched(Fetched),
    /// Nothing; it was the last.
    None,
}

impl List<'_> {
    async fn fetch(&self, limit: usize, token: Option<&str>) -> Result<Fetched, ClusterError> {
        let objects = limit.to_string();
        let mut query = vec![("limit", objects.as_str())];
        query.extend(self.options.selectors());
        query.extend(token.map(|token| ("continue", token)));
        let call = Call::get(
            path(&collection(self.resource, self.namespace), &query),
            "list",
            collection_text(self.resource, self.namespace),
        );
        let body = self.cluster.call(&call).await?;
        Ok(Fetched { call, limit, body })
    }

    /// Parses a page on a thread of its own, and fetches what follows it meanwhile.
    async fn read(&self, page: Fetched) -> Result<(Vec<Object>, Next), ClusterError> {
        let Fetched { call, limit, body } = page;
        let following = following(limit, body.len());
        let items = ItemType::of(self.resource);
        let (name_next, next_named) = oneshot::channel();
        let parse = tokio::task::spawn_blocking(move || page::read(&body, &items, name_next));
        let fetch = async {
            match next_named.await {
                Ok(token) => self.fetch(following, Some(&token)).await.map(Next::Fetched),
                Err(_) => Ok(Next::None),
            }
        };
        let (objects, next) = tokio::join!(parse, fetch);
        match objects {
            Ok(Ok(objects)) => Ok((objects, next?)),
            Ok(Err(source)) => Err(self.cluster.malformed(&call, source)),
            Err(source) => Err(self.cluster.malformed(&call, source)),
        }
    }
}

/// Objects on the page after one of so many objects and bytes.
fn following(limit: usize, bytes: usize) -> usize {
    let fitting = PAGE_BYTES * limit / bytes.max(1);
    fitting.clamp(SMALLEST_PAGE, LARGEST_PAGE.min(limit * GROWTH))
}

/// Whether an apply was refused for conflicts with nobody but this very manager's earlier updates.
fn only_with(error: &ClusterError, manager: &str) -> bool {
    let Some(failure) = error.failure().filter(|_| error.is_conflict()) else {
        return false;
    };
    // `conflict with "ferry" using v1: .data.a`; one such part for every manager.
    let mut others = failure.message.split("with \"").skip(1).peekable();
    others.peek().is_some()
        && others.all(|rest| {
            rest.split_once('"')
                .is_some_and(|(name, _)| name == manager)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn resource(group: &str, plural: &str, namespaced: bool) -> ApiResource {
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            kind: "Thing".into(),
            plural: plural.into(),
            namespaced,
            verbs: BTreeSet::new(),
            preferred: true,
            subresources: BTreeSet::new(),
        }
    }

    #[test]
    fn core_and_named_groups_have_their_own_roots() {
        let pods = resource("", "pods", true);
        let place = Place {
            resource: &pods,
            namespace: Some("shop"),
            name: "web",
        };
        assert_eq!(
            place.path(Some("log"), &[]),
            "/api/v1/namespaces/shop/pods/web/log"
        );
        let roles = resource("rbac.authorization.k8s.io", "clusterroles", false);
        let place = Place {
            resource: &roles,
            namespace: None,
            name: "system:node",
        };
        assert_eq!(
            place.path(None, &[]),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"
        );
    }

    #[test]
    fn pages_grow_to_a_few_mebibytes_and_shrink_for_large_objects() {
        let sizes = |object: usize| {
            let pages = std::iter::successors(Some(FIRST_PAGE), move |limit| {
                Some(following(*limit, limit * object))
            });
            pages.take(4).collect::<Vec<usize>>()
        };
        assert_eq!(sizes(1 << 10), [100, 400, 1000, 1000]);
        assert_eq!(sizes(32 << 10), [100, 128, 128, 128]);
        assert_eq!(sizes(3 << 19), [100, 10, 10, 10]);
        assert_eq!(following(1000, 0), 1000);
    }

    #[test]
    fn a_collection_is_named_as_kubectl_users_would() {
        let resource = resource("apps", "deployments", true);
        assert_eq!(
            collection_text(&resource, Some("shop")),
            "deployments.apps in namespace shop"
        );
    }
}
