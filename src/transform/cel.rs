//! Selection by a CEL expression: `object` is the object as it is on A, `vars` are the recipe's
//! variables, and the answer is `true` or `false`.
//!
//! Variables are values of the expression's own language and are never pasted into its text. An
//! expression that cannot be evaluated on an object is a mistake, never a "no": `has()` asks first.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cel::common::ast::operators::INDEX;
use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, LiteralValue};
use cel::{Context, Program, Value as Cel};
use serde_json::Value;

use crate::object::Object;

/// What an expression calls the object.
const OBJECT: &str = "object";
/// What an expression calls the recipe's variables.
const VARIABLES: &str = "vars";

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    text: String,
    span: Range<usize>,
    program: Arc<Program>,
    variables: Cel,
}

/// Why an expression gives no answer about an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ExpressionError {
    /// What the interpreter says.
    pub reason: String,
    /// Bytes of the expression in the recipe.
    pub span: Range<usize>,
}

impl Expression {
    /// Compiles an expression that stands at `span` of a recipe.
    ///
    /// # Errors
    /// What the compiler says, with line and column within the text, from 1.
    pub fn parse(text: &str, span: &Range<usize>) -> Result<Self, Vec<(usize, usize, String)>> {
        let program = Program::compile(text).map_err(|errors| {
            let place = |number: isize| usize::try_from(number).unwrap_or(0);
            let told = errors.errors.into_iter();
            // The parser also lists every token it would have taken.
            let reason = |text: String| match text.split_once(" expecting {") {
                Some((reason, _)) => reason.to_owned(),
                None => text,
            };
            told.map(|error| (place(error.pos.0), place(error.pos.1), reason(error.msg)))
                .collect::<Vec<_>>()
        })?;
        Ok(Self {
            text: text.to_owned(),
            span: span.clone(),
            program: Arc::new(program),
            variables: Cel::Null,
        })
    }

    /// What the expression uses by name.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        names.walk(&self.program.expression().expr, &mut Vec::new());
        names
    }

    /// Gives the expression its variables.
    pub fn set_variables<'a>(&mut self, variables: impl IntoIterator<Item = (&'a str, &'a Value)>) {
        let map: HashMap<String, Cel> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), convert(value)))
            .collect();
        self.variables = map.into();
    }

    /// Bytes of the expression in the recipe.
    pub fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Whether the object is selected.
    ///
    /// # Errors
    /// When the expression fails on this object, or its answer is not `true` or `false`.
    pub fn matches(&self, object: &Object) -> Result<bool, ExpressionError> {
        let error = |reason: String| ExpressionError {
            reason,
            span: self.span.clone(),
        };
        let mut context = Context::default();
        context.add_variable_from_value(OBJECT, convert(object.value()));
        context.add_variable_from_value(VARIABLES, self.variables.clone());
        match self.program.execute(&context) {
            Ok(Cel::Bool(answer)) => Ok(answer),
            Ok(other) => Err(error(format!(
                "its answer is {:?}, not true or false",
                other.type_of()
            ))),
            Err(cause) => Err(error(cause.to_string())),
        }
    }
}

/// The names an expression uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Variables of the recipe, as in `vars.name` and `vars["name"]`.
    pub variables: BTreeSet<String>,
    /// Names that mean nothing: neither `object` nor `vars` nor bound by a macro around them.
    pub unknown: BTreeSet<String>,
    /// How many macros stand in each other where most do: each multiplies the work by the length of its list.
    pub nested: usize,
    /// How many stand around what is looked at.
    around: usize,
}

impl Names {
    /// `bound` are the names that macros such as `exists` bind here.
    fn walk<'e>(&mut self, expression: &'e Expr, bound: &mut Vec<&'e str>) {
        match expression {
            Expr::Ident(name) => {
                let known = [OBJECT, VARIABLES].contains(&name.as_str());
                // The interpreter's own accumulators begin with a sign no user can write.
                if !known && !name.starts_with('@') && !bound.contains(&name.as_str()) {
                    self.unknown.insert(name.clone());
                }
            }
            Expr::Select(select) => {
                if is_variables(&select.operand.expr) {
                    self.variables.insert(select.field.clone());
                }
                self.walk(&select.operand.expr, bound);
            }
            Expr::Call(call) => {
                if let (INDEX, [map, index]) = (call.func_name.as_str(), call.args.as_slice())
                    && is_variables(&map.expr)
                    && let Expr::Literal(LiteralValue::String(name)) = &index.expr
                {
                    self.variables.insert(name.inner().to_owned());
                }
                let parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
                parts.for_each(|part| self.walk(&part.expr, bound));
            }
            Expr::Comprehension(macro_) => {
                self.walk(&macro_.iter_range.expr, bound);
                let outside = bound.len();
                bound.extend([macro_.iter_var.as_str(), macro_.accu_var.as_str()]);
                bound.extend(macro_.iter_var2.as_deref());
                self.around += 1;
                self.nested = self.nested.max(self.around);
                for part in [
                    &macro_.accu_init,
                    &macro_.loop_cond,
                    &macro_.loop_step,
                    &macro_.result,
                ] {
                    self.walk(&part.expr, bound);
                }
                self.around -= 1;
                bound.truncate(outside);
            }
            Expr::List(list) => {
                let elements = list.elements.iter();
                elements.for_each(|element| self.walk(&element.expr, bound));
            }
            Expr::Map(map) => self.entries(&map.entries, bound),
            Expr::Struct(made) => self.entries(&made.entries, bound),
            Expr::Unspecified | Expr::Literal(_) => {}
        }
    }

    fn entries<'e>(&mut self, entries: &'e [IdedEntryExpr], bound: &mut Vec<&'e str>) {
        for entry in entries {
            match &entry.expr {
                EntryExpr::StructField(field) => self.walk(&field.value.expr, bound),
                EntryExpr::MapEntry(entry) => {
                    self.walk(&entry.key.expr, bound);
                    self.walk(&entry.value.expr, bound);
                }
            }
        }
    }
}

fn is_variables(expression: &Expr) -> bool {
    matches!(expression, Expr::Ident(name) if name == VARIABLES)
}

/// Whole numbers are CEL's `int`, as they are to an API server, whatever their sign.
fn convert(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), ..) => Cel::Int(int),
            (None, Some(uint), _) => Cel::UInt(uint),
            (None, None, float) => Cel::Float(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(convert).collect())),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), convert(value)))
            .collect::<HashMap<String, Cel>>()
            .into(),
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(text: &str) -> Result<bool, ExpressionError> {
        let object = Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"tier": "front"}},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"image": "r.a/web:1"}]}}},
        }))
        .unwrap();
        let mut expression = Expression::parse(text, &(5..9)).unwrap();
        expression.set_variables([("most", &json!(2))]);
        expression.matches(&object)
    }

    #[test]
    fn an_expression_sees_the_object_and_the_variables() {
        assert_eq!(ask("object.spec.replicas > vars.most"), Ok(true));
        assert_eq!(ask("object.spec.replicas + 1 == 4"), Ok(true));
        assert_eq!(ask("object.metadata.labels['tier'] == 'back'"), Ok(false));
        assert_eq!(
            ask("object.spec.template.spec.containers.exists(c, c.image.startsWith('r.a/'))"),
            Ok(true)
        );
        assert_eq!(
            ask("has(object.spec.paused) && object.spec.paused"),
            Ok(false)
        );
        assert_eq!(ask("object.metadata.name.matches('^w.b$')"), Ok(true));
    }

    #[test]
    fn what_cannot_be_evaluated_is_a_mistake_and_never_a_no() {
        let error = ask("object.spec.paused").unwrap_err();
        assert_eq!(error.span, 5..9);
        assert!(error.reason.contains("paused"), "{}", error.reason);
        assert!(ask("object.spec.replicas").is_err());
        assert!(ask("object.spec.replicas == 'x' || object.spec.nope").is_err());
    }

    #[test]
    fn a_name_that_means_nothing_is_known_before_any_object_is() {
        let text = "obj.spec.x == vars.y || object.l.exists(i, i == vars['z'] || [j].size() > 0)";
        let names = Expression::parse(text, &(0..1)).unwrap().names();
        assert_eq!(names.unknown, ["j".to_owned(), "obj".to_owned()].into());
        assert_eq!(names.variables, ["y".to_owned(), "z".to_owned()].into());
        assert_eq!(names.nested, 1);
        let text = "[1].all(a, [2].all(b, a > b)) && [[3].size()].exists(c, true)";
        let names = Expression::parse(text, &(0..1)).unwrap().names();
        assert_eq!(names.nested, 2);
        assert!(Expression::parse("object.spec.", &(0..1)).is_err());
    }
}
