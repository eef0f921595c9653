//! The part of JSON Schema (draft 2020-12) that `replay.schema.json` uses.

use serde_json::{Map, Value};

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
