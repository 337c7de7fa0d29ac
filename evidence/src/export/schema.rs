//! The published OCSF schema, as far as our exports use it, and whether an object is what it wants.
//!
//! The table is made from the schema by `tests/python/ocsf_table.py`. Other rooms' tests take this
//! file as theirs too.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use serde_json::{Map, Value};

/// The table.
pub struct Schema(Value);

impl Schema {
    /// The table that is checked in.
    pub fn read() -> Self {
        Self(serde_json::from_str(include_str!("../../../tests/vectors/ocsf/schema.json")).unwrap())
    }

    /// What is wrong with an object of one of the classes in the table.
    pub fn faults(&self, object: &Map<String, Value>) -> Vec<String> {
        let mut faults = Vec::new();
        let uid = &object["class_uid"];
        let class = self.0["classes"]
            .as_object()
            .unwrap()
            .iter()
            .find(|(_, class)| class["uid"] == *uid);
        let Some((name, class)) = class else {
            return vec![format!("class {uid} is not in the table")];
        };
        let profiles: Vec<&str> = object["metadata"]["profiles"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        self.check(name, class, object, &profiles, &mut faults);
        if object["metadata"]["version"] != self.0["version"] {
            faults.push(format!("the table is of version {}", self.0["version"]));
        }
        let type_uid = uid.as_u64().unwrap() * 100 + object["activity_id"].as_u64().unwrap();
        if object["type_uid"] != type_uid {
            faults.push(format!("type_uid is not {type_uid}"));
        }
        faults
    }

    fn check(
        &self,
        place: &str,
        definition: &Value,
        object: &Map<String, Value>,
        profiles: &[&str],
        faults: &mut Vec<String>,
    ) {
        let attributes = definition["attributes"].as_object().unwrap();
        let in_force = |attribute: &Value| {
            attribute["profile"]
                .as_str()
                .is_none_or(|profile| profiles.contains(&profile))
        };
        for (name, attribute) in attributes {
            if attribute["required"] == true && in_force(attribute) && !object.contains_key(name) {
                faults.push(format!("{place}.{name} is required"));
            }
        }
        if let Some(any) = definition["at_least_one"].as_array()
            && !any.iter().any(|name| object.contains_key(name.as_str().unwrap()))
        {
            faults.push(format!("{place} has none of {any:?}"));
        }
        for (name, value) in object {
            let place = format!("{place}.{name}");
            match attributes.get(name) {
                Some(attribute) if in_force(attribute) => {
                    self.check_value(&place, attribute, value, profiles, faults);
                }
                Some(_) => faults.push(format!("{place} is of a profile that is not named")),
                None => faults.push(format!("{place} is not in the schema")),
            }
        }
    }

    fn check_value(
        &self,
        place: &str,
        attribute: &Value,
        value: &Value,
        profiles: &[&str],
        faults: &mut Vec<String>,
    ) {
        if attribute["array"] == true {
            let Some(items) = value.as_array() else {
                return faults.push(format!("{place} is not a list"));
            };
            let mut single = attribute.clone();
            single["array"] = false.into();
            for item in items {
                self.check_value(place, &single, item, profiles, faults);
            }
            return;
        }
        if let Some(known) = attribute["enum"].as_array()
            && !known.contains(value)
        {
            faults.push(format!("{place} is {value}, which the schema does not know"));
        }
        let fits = match attribute["type"].as_str().unwrap() {
            "integer_t" | "long_t" | "timestamp_t" => value.is_i64() || value.is_u64(),
            "port_t" => value.as_u64().is_some_and(|port| port <= 65_535),
            "boolean_t" => value.is_boolean(),
            "ip_t" => value
                .as_str()
                .is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            "json_t" => true,
            "object" => value.is_object(),
            "string_t" | "hostname_t" | "resource_uid_t" | "url_t" | "datetime_t" => value.is_string(),
            other => match (self.0["objects"].get(other), value.as_object()) {
                (Some(definition), Some(object)) => {
                    self.check(place, definition, object, profiles, faults);
                    true
                }
                (None, _) => return faults.push(format!("{place}: {other} is not in the table")),
                (_, None) => false,
            },
        };
        if !fits {
            faults.push(format!(
                "{place} is {value} where a {} belongs",
                attribute["type"]
            ));
        }
    }
}
