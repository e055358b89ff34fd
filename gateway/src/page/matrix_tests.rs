//! Who may what: every endpoint, asked in every way by everybody from both sides. The cells are made of the table of routes, so that a row
//! more is tested without a word here.

use super::gate::SESSION;
use super::routes::{Kind, READERS_OF_CASES, ROUTES, Row, Sides, Verb, Who};
use super::*;
use crate::access::Role;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE};
use axum::http::{Method, Request};
use tower::ServiceExt as _;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];
const HERE: &str = "localhost:8480";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asks {
    Nobody,
    As(Role),
    /// With a session that is no more.
    Expired,
    /// A program that is an operator.
    Program,
    /// From the side of the people.
    Subject,
    /// An engineer, from the side of the people.
    WrongSide,
}

struct Served {
    router: Router,
    shared: Shared,
    stage: stage::Stage,
    _past: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let snapshot = tokio::sync::watch::channel(Arc::new(sample::snapshot())).1;
        let (past_dir, past) = sample::past();
        let (shared, stage) = stage::shared(snapshot, std::sync::mpsc::channel().0, past);
        Self { router: router(shared.clone()), shared, stage, _past: past_dir }
    }

    async fn say(&self, mut request: Request<Body>, side: Side) -> Response {
        let address = "10.9.0.7:50000".parse().unwrap();
        request.extensions_mut().insert(Peer { address, side });
        request.extensions_mut().insert(Channel::Tls);
        request.headers_mut().insert(HOST, HeaderValue::from_static(HERE));
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn ask(&self, asks: Asks, method: &str, path: &str) -> Response {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        let access = &self.shared.access;
        let mut token = String::new();
        let mut cookies = Vec::new();
        let mut show = |secret: String| {
            token = access.viewer(&secret, true).map(|viewer| viewer.token).unwrap_or_default();
            cookies.push(format!("{SESSION}={secret}"));
        };
        match asks {
            Asks::As(role) => show(access.session_of(role)),
            Asks::WrongSide => show(access.session_of(Role::Engineer)),
            Asks::Expired => {
                let secret = access.session_of(Role::Engineer);
                access.forget(&secret);
                show(secret);
            }
            Asks::Program => {
                let bearer = format!("Bearer {}", self.stage.tokens[0]);
                request = request.header(AUTHORIZATION, bearer);
            }
            Asks::Nobody | Asks::Subject => {}
        }
        if token.is_empty() {
            // As a browser that was shown the form.
            cookies.push(format!("{}=nonce", super::gate::FORM));
            token = access.form_token("nonce");
        }
        let request = request
            .header(COOKIE, cookies.join("; "))
            .header(ORIGIN, format!("https://{HERE}"))
            .header("sec-fetch-site", "same-origin")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(format!("token={token}")))
            .unwrap();
        let side = if matches!(asks, Asks::Subject | Asks::WrongSide) { Side::Lan } else { Side::Management };
        self.say(request, side).await
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// What becomes of a request before its handler; `None`: the handler answers it.
fn stopped(row: &Row, asks: Asks) -> Option<u16> {
    if matches!(asks, Asks::Subject | Asks::WrongSide) && row.sides != Sides::Both {
        return Some(404);
    }
    let role = match asks {
        Asks::As(role) => Some(role),
        Asks::Program => Some(Role::Operator),
        _ => None,
    };
    let may = match (row.who, role) {
        (Who::Anyone | Who::Pusher, _) => true,
        (_, None) => return Some(if row.kind == Kind::View { 303 } else { 401 }),
        (Who::LoggedIn | Who::Scraper, Some(_)) => true,
        (Who::Only(roles), Some(role)) => roles.contains(&role),
    };
    // A program has no form, and that of a session is none on the side where nobody has one.
    let has_none = matches!(asks, Asks::Program | Asks::WrongSide);
    let has_form = !has_none || !row.verb.changes() || row.who == Who::Pusher;
    if may && has_form { None } else { Some(403) }
}

fn is_of(row: &Row, method: &str) -> bool {
    row.verb.as_str() == method || row.verb == Verb::Get && method == "HEAD"
}

#[test]
fn every_endpoint_by_every_role_in_every_way_from_both_sides() {
    run(async {
        let served = Served::new();
        let mut everybody = vec![Asks::Nobody, Asks::Expired, Asks::Program, Asks::Subject, Asks::WrongSide];
        everybody.extend(ROLES.map(Asks::As));
        let paths: std::collections::BTreeSet<&str> = ROUTES.iter().map(|row| row.path).collect();
        let (mut cells, mut faults) = (0, Vec::new());
        for path in &paths {
            let concrete = path.replace("{address}", "10.1.2.3").replace("{file}", "2027-01-04_week.html");
            for asks in &everybody {
                for method in METHODS {
                    cells += 1;
                    let answer = served.ask(*asks, method, &concrete).await;
                    let status = answer.status().as_u16();
                    for (name, value) in HEADERS {
                        assert_eq!(answer.headers().get(name).unwrap(), value, "{method} {path} {asks:?}");
                    }
                    let row = ROUTES.iter().find(|row| row.path == *path && is_of(row, method));
                    let good = match row.map(|row| (row, stopped(row, *asks))) {
                        // In a way that nobody may ask it.
                        None if matches!(asks, Asks::Subject | Asks::WrongSide) => status == 404,
                        None => status == 405,
                        Some((row, Some(303))) if method != "HEAD" => {
                            let to = answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
                            let next = format!("/login?next={}", row.path.replace('/', "%2F"));
                            status == 303 && to == Some(next)
                        }
                        Some((_, Some(stop))) => status == stop,
                        // Nobody may push here, so there is no such page.
                        Some((row, None)) if row.who == Who::Pusher => status == 404,
                        Some((_, None)) => ![403, 404, 405, 500].contains(&status),
                    };
                    if !good {
                        faults.push(format!("{method} {path} by {asks:?}: {status}"));
                    }
                }
            }
        }
        assert!(faults.is_empty(), "{} of {cells} cells:\n{}", faults.len(), faults.join("\n"));
        assert_eq!(cells, paths.len() * everybody.len() * METHODS.len());
        // What has no row is not there, for nobody.
        for path in ["/none", "/api/v1", "/api/v1/none", "/login/", "//", "/account/..", "/%2e%2e/etc/passwd"]
        {
            for asks in &everybody {
                assert_eq!(served.ask(*asks, "GET", path).await.status(), 404, "{path} {asks:?}");
            }
        }
    });
}

const ROLES: [Role; 6] = Role::ALL;

#[test]
fn no_view_leads_anybody_to_where_they_may_not_go() {
    run(async {
        let served = Served::new();
        for role in ROLES {
            for view in ["/", "/traffic", "/system"] {
                let page = served.ask(Asks::As(role), "GET", view).await;
                let page = to_bytes(page.into_body(), 1 << 20).await.unwrap();
                let page = String::from_utf8(page.to_vec()).unwrap();
                let (_, nav) = page.split_once("<nav class=\"views\"").unwrap();
                let (nav, _) = nav.split_once("</nav>").unwrap();
                let links: Vec<&str> =
                    nav.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
                let reads = READERS_OF_CASES.contains(&role);
                assert_eq!(links.len(), 7 + usize::from(reads), "{role} at {view}: {links:?}");
                for link in links {
                    let status = served.ask(Asks::As(role), "GET", link).await.status().as_u16();
                    assert_ne!(status, 403, "{role} from {view} to {link}");
                }
            }
        }
    });
}

#[test]
fn a_route_is_made_of_a_row_or_not_at_all() {
    // Where the router is put together there is one place.
    for (file, text) in [
        ("page.rs", include_str!("../page.rs")),
        ("push.rs", include_str!("push.rs")),
        ("login.rs", include_str!("login.rs")),
        ("gate.rs", include_str!("gate.rs")),
    ] {
        assert!(!text.contains(".route(") && !text.contains(".merge("), "{file}");
    }
    let mut seen = std::collections::BTreeSet::new();
    for row in ROUTES {
        assert!(seen.insert((row.verb.as_str(), row.path)), "{} {} twice", row.verb.as_str(), row.path);
        assert!(
            row.sides == Sides::Management || row.who == Who::Anyone,
            "{}: nobody is logged in there",
            row.path
        );
    }
}

#[test]
fn twenty_four_ways_to_send_a_form_of_which_one_is_right() {
    run(async {
        let served = Served::new();
        let access = &served.shared.access;
        let mut passed = Vec::new();
        for origin in [Some(format!("https://{HERE}")), Some("https://evil.example".to_owned()), None] {
            for site in [Some("same-origin"), Some("same-site"), Some("cross-site"), None] {
                for right in [true, false] {
                    let secret = access.session_of(Role::Operator);
                    let viewer = access.viewer(&secret, true).unwrap();
                    let token = if right { viewer.token } else { access.form_token("nonce") };
                    let mut request = Request::builder().method("POST").uri("/logout");
                    request =
                        request.header(COOKIE, format!("{SESSION}={secret}; {}=nonce", super::gate::FORM));
                    request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                    if let Some(origin) = &origin {
                        request = request.header(ORIGIN, origin);
                    }
                    if let Some(site) = site {
                        request = request.header("sec-fetch-site", site);
                    }
                    let request = request.body(Body::from(format!("token={token}"))).unwrap();
                    let answer = served.say(request, Side::Management).await;
                    let ended = access.viewer(&secret, true).is_none();
                    assert_eq!(ended, answer.status() == 303, "{origin:?} {site:?} {right}");
                    if ended {
                        passed.push((origin.clone(), site, right));
                    } else {
                        assert_eq!(answer.status(), 403);
                        access.forget(&secret);
                    }
                }
            }
        }
        assert_eq!(passed, [(Some(format!("https://{HERE}")), Some("same-origin"), true)]);
    });
}

#[test]
fn to_look_changes_nothing() {
    run(async {
        let served = Served::new();
        let access = &served.shared.access;
        // Nobody may have more views.
        let mine = access.session_of(Role::HumanResources);
        let before = access.state(Role::HumanResources);
        served.stage.told();
        for row in ROUTES.iter().filter(|row| row.verb == Verb::Get) {
            let request = Request::builder().uri(row.path.replace("{file}", "2027-01-04_week.html"));
            let request = request.header(COOKIE, format!("{SESSION}={mine}")).body(Body::empty()).unwrap();
            let answer = served.say(request, Side::Management).await;
            // There is no slow path to ask, and a report of no time can't be given.
            let status = answer.status().as_u16();
            assert!(status < 400 || [400, 503].contains(&status), "{}: {status}", row.path);
        }
        assert_eq!(access.state(Role::HumanResources), before);
        assert!(served.stage.told().is_empty());
    });
}

#[test]
fn a_login_by_its_form_and_the_way_out() {
    run(async {
        let served = Served::new();
        let access = &served.shared.access;
        let shown = served
            .say(Request::get("/login?next=%2Flog").body(Body::empty()).unwrap(), Side::Management)
            .await;
        let cookie = shown.headers().get(SET_COOKIE).unwrap().to_str().unwrap().to_owned();
        let nonce = cookie.split(';').next().unwrap().to_owned();
        assert!(cookie.ends_with("; Secure; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
        let page = String::from_utf8(to_bytes(shown.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        let value = |name: &str| {
            let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        assert!(!page.contains("<script") && !page.contains("style=\""), "{page}");
        let kept = crate::access::password::hash("three ships in one bottle").unwrap();
        access.add_for_tests("wang.fang", Role::Operator, &kept);
        let post = |path: &str, cookie: String, body: String| {
            Request::post(path)
                .header(COOKIE, cookie)
                .header(ORIGIN, format!("https://{HERE}"))
                .header("sec-fetch-site", "same-origin")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(body))
                .unwrap()
        };
        let form = |password: &str, next: &str| {
            format!("token={}&next={next}&name=wang.fang&password={password}&code=", value("token"))
        };
        let wrong = post("/login", nonce.clone(), form("wrong+wrong+wrong+wrong", "%2Flog"));
        let wrong = served.say(wrong, Side::Management).await;
        assert_eq!((wrong.status().as_u16(), wrong.headers().get(SET_COOKIE)), (401, None));
        // Where it goes afterwards is a view of ours or the first.
        for (next, to) in
            [("%2Flog", "/log"), ("https%3A%2F%2Fevil.example", "/"), ("%2F%2Fevil.example", "/"), ("", "/")]
        {
            let right = post("/login", nonce.clone(), form("three+ships+in+one+bottle", next));
            let right = served.say(right, Side::Management).await;
            assert_eq!(
                (right.status().as_u16(), right.headers().get(LOCATION).unwrap().to_str().unwrap()),
                (303, to)
            );
            let cookie = right.headers().get(SET_COOKIE).unwrap().to_str().unwrap().to_owned();
            assert!(
                cookie.starts_with("__Host-glassgate=")
                    && cookie.contains("; Secure; HttpOnly; SameSite=Strict; Path=/")
            );
            let session = cookie.split(';').next().unwrap().to_owned();
            let viewer = access.viewer(session.split_once('=').unwrap().1, true).unwrap();
            let request = Request::get("/account").header(COOKIE, &session).body(Body::empty()).unwrap();
            assert_eq!(served.say(request, Side::Management).await.status(), 200);
            let out = served
                .say(post("/logout", session.clone(), format!("token={}", viewer.token)), Side::Management)
                .await;
            assert_eq!(out.status(), 303);
            assert!(access.viewer(session.split_once('=').unwrap().1, true).is_none());
        }
        let told: Vec<String> = served.stage.told().iter().map(|act| format!("{act:?}")).collect();
        assert_eq!(told.iter().filter(|act| act.starts_with("Login")).count(), 4, "{told:?}");
        assert_eq!(told.iter().filter(|act| act.starts_with("Logout")).count(), 4);
        assert_eq!(told.iter().filter(|act| act.starts_with("Failed")).count(), 1);
    });
}

#[test]
fn a_stream_is_for_two_of_a_session_and_ends_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let served = Served::new();
        let access = &served.shared.access;
        let secret = access.session_of(Role::Operator);
        let listen = async || {
            let request =
                Request::get("/api/v1/now/stream?lang=en").header(COOKIE, format!("{SESSION}={secret}"));
            served.say(request.body(Body::empty()).unwrap(), Side::Management).await
        };
        let next = async |body: &mut Body| {
            let frame =
                std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(&mut *body), cx));
            frame.await.map(|frame| String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
        };
        let (first, second) = (listen().await, listen().await);
        assert_eq!(first.headers().get(CONTENT_TYPE).unwrap(), "text/event-stream");
        let third = listen().await;
        assert_eq!(
            (third.status().as_u16(), third.headers().get("retry-after").unwrap().as_bytes()),
            (503, &b"10"[..])
        );
        drop(second);
        let mut again = listen().await.into_body();
        let mut body = first.into_body();
        for _ in 0..3 {
            let event = next(&mut body).await.unwrap();
            assert!(
                event.starts_with("retry: 1000\ndata: <main id=\"now\">") && event.ends_with("</main>\n\n"),
                "{event}"
            );
            assert_eq!(next(&mut again).await.unwrap(), event, "the same for all who listen");
        }
        // It ends by itself before its connection does.
        let began = tokio::time::Instant::now();
        while next(&mut again).await.is_some() {}
        assert!(began.elapsed() <= std::time::Duration::from_secs(101), "{:?}", began.elapsed());
        access.forget(&secret);
        assert_eq!(next(&mut body).await, None);
        assert_eq!(listen().await.status(), 401);
    });
}

#[test]
fn metrics_have_a_token_of_their_own() {
    run(async {
        let served = Served::new();
        let get = |path: &str, token: &str| {
            Request::get(path).header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap()
        };
        let status =
            async |path, token| served.say(get(path, token), Side::Management).await.status().as_u16();
        assert_eq!(status("/metrics", "the-token-of-prometheus").await, 200);
        assert_eq!(status("/metrics", "the-token-of-prometheuS").await, 401);
        assert_eq!(
            status("/api/v1/now", "the-token-of-prometheus").await,
            401,
            "it is good for nothing else"
        );
        assert_eq!(status("/api/v1/now", &served.stage.tokens[1]).await, 200);
        let lan = served.say(get("/metrics", "the-token-of-prometheus"), Side::Lan).await;
        assert_eq!(lan.status(), 404);
    });
}

/// The table of routes, in Markdown.
fn reference() -> String {
    let mut out = String::from(
        "# Endpoints\n\nEvery endpoint of the page, who may ask it and from which side; what is not here is answered by 404. \
         [Access](access.md) explains roles and sides.\n\n\
         This page is made from the code (`UPDATE=1 cargo test -p glassgate docs_endpoints` writes it).\n\n\
         | | path | what | who | side |\n|---|---|---|---|---|\n",
    );
    for row in ROUTES {
        let who = match row.who {
            Who::Anyone => "anyone".to_owned(),
            Who::LoggedIn => "whoever is logged in".to_owned(),
            Who::Only(roles) => roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "),
            Who::Scraper => "`page.metrics_token`, or logged in".to_owned(),
            Who::Pusher => "`identity.push_token`".to_owned(),
        };
        let side = if row.sides == Sides::Both { "both" } else { "management" };
        out += &format!("| {} | `{}` | {} | {who} | {side} |\n", row.verb.as_str(), row.path, row.about);
    }
    out
}

#[test]
fn docs_endpoints_is_what_the_code_says() {
    crate::docs_test::holds("endpoints.md", &reference());
}
