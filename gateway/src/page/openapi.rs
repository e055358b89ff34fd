//! The interface for programs as an OpenAPI file, made of the [table of routes](super::routes): what is not in the one is not in the other.

use super::routes::{Kind, ROUTES, Row, Who};
use axum::response::Json;
use serde_json::{Map, Value, json};

/// `GET /api/v1/openapi.json`.
pub(super) async fn file() -> Json<Value> {
    Json(document())
}

/// The file.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for row in ROUTES {
        let Kind::Data(kind) = row.kind else { continue };
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(row.verb.as_str().to_lowercase(), operation(row, kind));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Glassgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the gateway counts and how it is. Times are seconds since 1970 where nothing else is said.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": { "error": { "type": "string" } },
                },
            },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Of a program: `glassgate account add --program`" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::gate::SESSION },
                "scraper": { "type": "http", "scheme": "bearer", "description": "`page.metrics_token`" },
                "pusher": { "type": "http", "scheme": "bearer", "description": "`identity.push_token`" },
            },
        },
    })
}

fn operation(row: &Row, kind: &str) -> Value {
    let mut parameters: Vec<Value> = row
        .query
        .iter()
        .map(|param| {
            let schema: Value = serde_json::from_str(param.schema).unwrap_or_default();
            json!({ "name": param.name, "in": "query", "description": param.about, "schema": schema })
        })
        .collect();
    parameters.extend(row.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(
        |(name, _)| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
    ));
    let mut responses = Map::new();
    let error = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
    let media = kind.split(';').next().unwrap_or(kind);
    if row.verb.changes() {
        responses.insert("204".to_owned(), json!({ "description": "Done" }));
        for (status, why) in [
            ("400", "Not understood"),
            ("404", "Nobody may push here"),
            ("408", "Too slow"),
            ("413", "Too long"),
            ("422", "It can't be"),
        ] {
            responses.insert(status.to_owned(), json!({ "description": why, "content": error }));
        }
    } else {
        let schema = if media == super::routes::JSON {
            json!({ "type": "object" })
        } else {
            json!({ "type": "string" })
        };
        responses.insert(
            "200".to_owned(),
            json!({ "description": row.about, "content": { media: { "schema": schema } } }),
        );
        responses.insert(
            "400".to_owned(),
            json!({ "description": "It can't be answered as it is asked", "content": { "text/plain": { "schema": { "type": "string" } }, "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } }),
        );
    }
    if !row.verb.changes() && row.path.contains('{') {
        responses.insert("404".to_owned(), json!({ "description": "There is none of this name" }));
    }
    responses.insert("431".to_owned(), json!({ "description": "The head is too long" }));
    responses.insert("503".to_owned(), json!({ "description": "Not now", "content": { "text/plain": { "schema": { "type": "string" } }, "application/json": { "schema": {} } } }));
    if row.who != Who::Anyone {
        responses.insert("401".to_owned(), json!({ "description": "Nobody is logged in", "content": error }));
        responses.insert("403".to_owned(), json!({ "description": "Not in this role", "content": error }));
    }
    let security = match row.who {
        Who::Anyone => json!([]),
        Who::Pusher => json!([{ "pusher": [] }]),
        Who::Scraper => json!([{ "scraper": [] }, { "token": [] }, { "session": [] }]),
        Who::LoggedIn | Who::Only(_) => json!([{ "token": [] }, { "session": [] }]),
    };
    let mut operation = json!({
        "operationId": row.name,
        "summary": row.about,
        "parameters": parameters,
        "responses": responses,
        "security": security,
    });
    if row.verb.as_str() == "PUT"
        && let Some(operation) = operation.as_object_mut()
    {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["until"],
            "properties": {
                "account": { "type": "string", "minLength": 1, "maxLength": 253 },
                "device": { "type": "string" },
                "until": { "type": "string", "format": "date-time" },
            },
        });
        let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_data_is_in_it_once() {
        let file = document();
        let mut names = std::collections::BTreeSet::new();
        for row in ROUTES.iter().filter(|row| matches!(row.kind, Kind::Data(_))) {
            let operation = &file["paths"][row.path][row.verb.as_str().to_lowercase()];
            assert_eq!(operation["operationId"], row.name);
            assert!(names.insert(row.name), "{}", row.name);
            for param in operation["parameters"].as_array().unwrap() {
                assert!(param["schema"].is_object(), "{}: {param}", row.name);
            }
        }
        assert!(names.len() >= 8, "{names:?}");
        let text = file.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let (pointer, _) = part.split_once('"').unwrap();
            assert!(file.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
