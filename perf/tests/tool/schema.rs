//! The part of JSON Schema (draft 2020-12) that the schemas of `teamctl` use.

use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// The schema of what a command prints with `--json`.
pub fn of(command: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{command}.schema.json"));
    serde_json::from_str(&fs::read_to_string(path).expect("there")).expect("JSON")
}

/// Every member of every object; one of a list stands for the others.
fn members_of(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                found.push(path.clone());
                members_of(member, &path, found);
            }
        }
        Value::Array(items) => {
            items.iter().take(1).for_each(|item| members_of(item, &format!("{at}/0"), found))
        }
        _ => {}
    }
}

/// What a schema does not notice in a report that is as it says: a member that is missing (unless it is `optional`), one
/// of another type, one that is new. And how many members there are.
pub fn unnoticed(schema: &Value, report: &Value, optional: impl Fn(&str) -> bool) -> (usize, Vec<String>) {
    let (mut all, mut missed) = (Vec::new(), Vec::new());
    members_of(report, "", &mut all);
    for path in &all {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let name = name.replace("~1", "/").replace("~0", "~");
        let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut other = report.clone();
            change(other.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object"));
            !broken(schema, &other).is_empty()
        };
        let is_noticed = changed(&|object| _ = object.remove(&name));
        if is_noticed == optional(path) {
            missed.push(format!("{path} missing: {is_noticed}"));
        }
        let null_list = || Value::Array(vec![Value::Null]);
        if !changed(&|object| _ = object.insert(name.clone(), null_list())) {
            missed.push(format!("{path} of another type"));
        }
        if !changed(&|object| _ = object.insert("news".to_owned(), Value::Array(vec![null_list()]))) {
            missed.push(format!("{parent}/news"));
        }
    }
    (all.len(), missed)
}

/// What a value breaks, with the place of each; a keyword that is not known here is a fault of the schema.
pub fn broken(schema: &Value, value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    check(schema, schema, value, "$", &mut all);
    all
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, broken: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else { return broken.push(format!("{place}: no schema")) };
    for (keyword, wanted) in keywords {
        let fault = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "required" | "additionalProperties" => None,
            "$ref" => {
                let target = wanted.as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
                match target {
                    Some(target) => check(root, target, value, place, broken),
                    None => broken.push(format!("{place}: {wanted} leads nowhere")),
                }
                None
            }
            "type" => {
                let is = |name: &Value| has_type(value, name.as_str().unwrap_or_default());
                let fits = wanted.as_array().map_or_else(|| is(wanted), |any| any.iter().any(is));
                (!fits).then(|| format!("is no {wanted}"))
            }
            "enum" => (!wanted.as_array().is_some_and(|any| any.contains(value)))
                .then(|| format!("is none of {wanted}")),
            "minimum" => {
                (value.as_f64() < wanted.as_f64() && value.is_number()).then(|| format!("is below {wanted}"))
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{place}[{number}]"), broken);
                }
                None
            }
            "properties" => {
                members(root, keywords, value, place, broken);
                None
            }
            other => Some(format!("{other} is not checked")),
        };
        broken.extend(fault.map(|fault| format!("{place} {fault}: {value}")));
    }
    if !keywords.contains_key("properties") && keywords.contains_key("additionalProperties") {
        members(root, keywords, value, place, broken);
    }
}

fn members(
    root: &Value,
    keywords: &Map<String, Value>,
    value: &Value,
    place: &str,
    broken: &mut Vec<String>,
) {
    let Some(object) = value.as_object() else { return };
    let none = Map::new();
    let properties = keywords.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap_or_default()) {
            broken.push(format!("{place} lacks {name}"));
        }
    }
    for (name, member) in object {
        let place = format!("{place}.{name}");
        match (properties.get(name), keywords.get("additionalProperties")) {
            (Some(schema), _) => check(root, schema, member, &place, broken),
            (None, Some(Value::Bool(false))) => broken.push(format!("{place} is not described")),
            (None, Some(schema)) => check(root, schema, member, &place, broken),
            (None, None) => broken.push(format!("{place}: nothing is said of other members")),
        }
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        _ => false,
    }
}
