//! The interface for programs as an OpenAPI file, made of the [table of routes](super::routes): what is not in the one is not in the other.
//! What is answered is described by the types that are answered with, comments and all (JSON Schema 2020-12, as OpenAPI 3.1 wants it).

use super::routes::{JSON, Kind, ROUTES, Row, Who};
use axum::response::Json;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// `GET /api/v1/openapi.json`.
pub(super) async fn file() -> Json<Value> {
    Json(document())
}

/// The file.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut types = Types {
        taken: settings.clone().for_deserialize().into_generator(),
        answered: settings.for_serialize().into_generator(),
    };
    for row in ROUTES {
        let Kind::Data(kind) = row.kind else { continue };
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(row.verb.as_str().to_lowercase(), operation(row, kind, &mut types));
        }
    }
    let mut schemas = types.answered.take_definitions(true);
    schemas.append(&mut types.taken.take_definitions(true));
    schemas.insert(
        "Error".to_owned(),
        json!({ "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } }),
    );
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
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Of a program: `glassgate account add --program`" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::gate::SESSION },
                "scraper": { "type": "http", "scheme": "bearer", "description": "`page.metrics_token`" },
                "pusher": { "type": "http", "scheme": "bearer", "description": "`identity.push_token`" },
            },
        },
    })
}

/// What types are described by: a type can be taken and answered with, and may look different.
struct Types {
    taken: SchemaGenerator,
    answered: SchemaGenerator,
}

fn operation(row: &Row, kind: &str, types: &mut Types) -> Value {
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
        let schema = match row.schema {
            Some(describe) => Value::from(describe(&mut types.answered)),
            None if media == JSON => json!({ "type": "object" }),
            None => json!({ "type": "string" }),
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
    if row.verb.changes()
        && let Some(describe) = row.schema
        && let Some(operation) = operation.as_object_mut()
    {
        let schema = Value::from(describe(&mut types.taken));
        let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::super::{hostile, peer, sample, server, stage};
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, header};
    use tower::ServiceExt as _;

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

    #[test]
    fn what_is_answered_is_what_it_says() {
        let file = document();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (commands, to_do) = std::sync::mpsc::channel();
            sample::answering(to_do);
            let snapshot = tokio::sync::watch::channel(std::sync::Arc::new(hostile::complete())).1;
            let (_dir, past) = sample::past();
            let (shared, stage) = stage::shared(snapshot, commands, past);
            let router = super::super::router(shared);
            let mut asked = 0;
            for row in ROUTES.iter().filter(|row| row.kind == Kind::Data(JSON) && !row.verb.changes()) {
                let path = match row.path {
                    "/api/v1/explain" => "/api/v1/explain?name=www.zhipin.com",
                    // Nothing but somebody who is logged in may ask for it, and the sample has no request.
                    "/api/v1/cases/{case}" => continue,
                    path => path,
                };
                let request = Request::get(path).header(header::HOST, "localhost:8480");
                let token = format!("Bearer {}", stage.tokens[1]);
                let mut request = request.header(header::AUTHORIZATION, token).body(Body::empty()).unwrap();
                let address = "10.9.0.7:50000".parse().unwrap();
                request.extensions_mut().insert(peer::Peer { address, side: peer::Side::Management });
                request.extensions_mut().insert(server::Channel::Tls);
                let answer = router.clone().oneshot(request).await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                let body = to_bytes(answer.into_body(), 16 << 20).await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let content = &file["paths"][row.path]["get"]["responses"]["200"]["content"];
                let mut schema = json!({ "components": file["components"] });
                schema["allOf"] = json!([content["application/json"]["schema"]]);
                let faults: Vec<String> = jsonschema::validator_for(&schema)
                    .unwrap()
                    .iter_errors(&body)
                    .map(|fault| format!("{}: {fault}", fault.instance_path()))
                    .collect();
                assert!(faults.is_empty(), "{path}: {faults:?}");
                // What is not described would pass as well.
                assert!(row.schema.is_some() || row.path.ends_with("openapi.json"), "{path}");
                asked += 1;
            }
            assert!(asked >= 9, "{asked}");
        });
    }
}
