//! Which objects of the namespaces: the same options for every command that captures.

use clap::Args;

use crate::capture::{LabelSelector, ObjectGlob, Selection};

/// Options to choose objects.
#[derive(Clone, Debug, Args)]
pub(super) struct SelectArgs {
    /// Only objects whose labels fit, in kubectl's words: `app=web,tier!=db,env in (a,b)`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<LabelSelector>,
    /// Only objects that fit; may be given several times
    ///
    /// KIND, KIND.GROUP, KIND/NAME or KIND/NAMESPACE/NAME, with * anywhere; `core` is the group of
    /// Pods and Services. What the chosen objects need and is not chosen is listed.
    ///
    /// Examples: `--include Deployment --include 'ConfigMap/web-*'`, `--include '*.postgresql.cnpg.io'`
    #[arg(long, value_name = "OBJECTS", verbatim_doc_comment)]
    include: Vec<ObjectGlob>,
    /// No objects that fit, in the forms of --include; wins over it
    ///
    /// A kind that is left out altogether is not even read.
    ///
    /// Examples: `--exclude Secret`, `--exclude 'secrets/shop/tls-*'`, `--exclude '*.tekton.dev'`
    #[arg(long, value_name = "OBJECTS", verbatim_doc_comment)]
    exclude: Vec<ObjectGlob>,
    /// Go on without the kinds the user may not list and the APIs whose server does not answer
    #[arg(long)]
    allow_incomplete: bool,
}

impl SelectArgs {
    /// The selection in some namespaces.
    pub(super) fn within(self, namespaces: Vec<String>) -> Selection {
        let Self {
            selector,
            include,
            exclude,
            allow_incomplete,
        } = self;
        Selection {
            namespaces,
            labels: selector,
            include,
            exclude,
            allow_incomplete,
        }
    }
}
