//! The pages on which somebody comes in, goes, and looks after their account. They work without scripts.

use super::gate::{Asker, FORM, Fields, SESSION, cookie, see_other};
use super::lang::Lang;
use super::routes::is_view;
use super::{qr, shell};
use crate::access::{Joining, NotChanged, NotJoined, Refused, Tried, random};
use crate::control::Shared;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;

/// What may stand in the address of such a page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    lang: Option<String>,
    /// Where to go after the login.
    next: Option<String>,
}

/// The form of a login.
pub(super) async fn form(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(looked): Query<Looked>,
) -> Response {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    if shared.access.is_new() {
        return see_other(&format!("/join?lang={}", lang.tag()));
    }
    let next = looked.next.unwrap_or_default();
    signed(&shared, &headers, StatusCode::OK, |token| {
        let trouble = shared.access.trouble().map(|_| {
            lang.say(
                "The accounts can't be read; `glassgate account list` says why.",
                "无法读取账户；`glassgate account list` 会说明原因。",
            )
        });
        login(token, &next, trouble, lang)
    })
}

/// Lets somebody in.
pub(super) async fn login_now(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let code: String = fields.get("code").chars().filter(|c| !c.is_whitespace()).collect();
    let tried = Tried { name: fields.get("name").trim(), password: fields.get("password"), code: &code };
    match shared.access.login(tried, asker.from).await {
        Ok(secret) => {
            let next = Some(fields.get("next")).filter(|next| is_view(next)).unwrap_or("/");
            begin(&shared, &asker, &secret, next)
        }
        Err(why) => {
            let (status, wait) = status(&why);
            let next = fields.get("next").to_owned();
            let words = refused(&why, lang);
            let mut response =
                signed(&shared, &headers, status, |token| login(token, &next, Some(&words), lang));
            if let Some(wait) = wait {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
            }
            response
        }
    }
}

/// Ends the session.
pub(super) async fn logout(State(shared): State<Shared>, Extension(asker): Extension<Asker>) -> Response {
    if let (Some(viewer), Some(secret)) = (&asker.viewer, &asker.session) {
        shared.access.logout(viewer, secret).await;
    }
    let mut response = see_other("/login");
    set(&mut response, SESSION, "", Some(0));
    response
}

/// Who is logged in, and what they may change of their account.
pub(super) async fn account(
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
    Query(looked): Query<Looked>,
) -> Response {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    Html(own(&asker, None, lang).into_string()).into_response()
}

/// Changes a password.
pub(super) async fn change_password(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let again = |status: StatusCode, why: &str| {
        (status, Html(own(&asker, Some(why), lang).into_string())).into_response()
    };
    let (Some(viewer), true) = (&asker.viewer, asker.session.is_some()) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let (old, new) = (fields.get("old"), fields.get("new"));
    if new != fields.get("again") {
        return again(StatusCode::UNPROCESSABLE_ENTITY, differ(lang));
    }
    match shared.access.change_password(viewer, old, new, asker.from).await {
        Ok(secret) => begin(&shared, &asker, &secret, "/account"),
        Err(NotChanged::Weak(weak)) => {
            again(StatusCode::UNPROCESSABLE_ENTITY, lang.say(weak.en(), weak.zh()))
        }
        Err(NotChanged::Refused(why)) => again(status(&why).0, &refused(&why, lang)),
        Err(NotChanged::NotKept(why)) => again(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// The form of whoever was handed a secret.
pub(super) async fn joining(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(looked): Query<Looked>,
) -> Response {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let is_new = shared.access.is_new();
    signed(&shared, &headers, StatusCode::OK, |token| join(token, is_new, None, lang))
}

/// The first step: a secret against a password.
pub(super) async fn join_now(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let is_new = shared.access.is_new();
    let again =
        |status, why: &str| signed(&shared, &headers, status, |token| join(token, is_new, Some(why), lang));
    if fields.get("new") != fields.get("again") {
        return again(StatusCode::UNPROCESSABLE_ENTITY, differ(lang));
    }
    let (secret, name) = (fields.get("secret").trim(), fields.get("name").trim());
    match shared.access.join(secret, name, fields.get("new"), asker.from).await {
        Ok(joining) => {
            signed(&shared, &headers, StatusCode::OK, |token| confirm(token, &joining, None, lang))
        }
        Err(why) => {
            let (status, words) = not_joined(&why, lang);
            again(status, &words)
        }
    }
}

/// The second step: the first code.
pub(super) async fn confirm_now(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let code: String = fields.get("code").chars().filter(|c| !c.is_whitespace()).collect();
    match shared.access.confirm(fields.get("joining"), &code, asker.from).await {
        Ok(secret) => begin(&shared, &asker, &secret, "/"),
        Err(NotJoined::Code(same)) => {
            let joining = Joining {
                token: fields.get("joining").to_owned(),
                name: same.name,
                uri: same.uri,
                secret: same.secret,
                may_skip: same.may_skip,
            };
            let why = lang.say("That was not the code of this moment.", "该验证码与当前时刻不符。");
            signed(&shared, &headers, StatusCode::UNAUTHORIZED, |token| {
                confirm(token, &joining, Some(why), lang)
            })
        }
        Err(why) => {
            let (status, words) = not_joined(&why, lang);
            let is_new = shared.access.is_new();
            signed(&shared, &headers, status, |token| join(token, is_new, Some(&words), lang))
        }
    }
}

/// Where programs that keep passwords are sent to change one.
pub(super) async fn well_known_change() -> Response {
    see_other("/account")
}

/// A page with a sentence on it.
pub(super) fn notice(status: StatusCode, why: &str, lang: Lang) -> Html<String> {
    let title = match status {
        StatusCode::FORBIDDEN => lang.say("Not allowed", "无权访问"),
        _ => lang.say("Not taken", "未受理"),
    };
    let body = html! { section .card .form {
        h1 { (title) } p { (why) (lang.say(".", "。")) }
        p { a href=(format!("/?lang={}", lang.tag())) { (lang.say("To the figures", "返回")) } }
    } };
    Html(shell::plain(lang, title, &body).into_string())
}

/// A page with a form that is tied to a cookie, before anybody is logged in.
fn signed(
    shared: &Shared,
    headers: &HeaderMap,
    status: StatusCode,
    page: impl Fn(&str) -> Markup,
) -> Response {
    let found = cookie(headers, FORM).map(str::to_owned);
    let is_new = found.is_none();
    let Some(nonce) = found.or_else(random) else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let token = shared.access.form_token(&nonce);
    let mut response = (status, Html(page(&token).into_string())).into_response();
    if is_new {
        set(&mut response, FORM, &nonce, None);
    }
    response
}

/// A page with a form that anybody may send, logged in or not.
pub(super) fn tied(
    shared: &Shared,
    headers: &HeaderMap,
    asker: &Asker,
    page: impl Fn(&str) -> Markup,
) -> Response {
    match &asker.viewer {
        Some(viewer) => Html(page(&viewer.token).into_string()).into_response(),
        None => signed(shared, headers, StatusCode::OK, page),
    }
}

/// Goes on in a new session; the one before is no more.
fn begin(shared: &Shared, asker: &Asker, secret: &str, to: &str) -> Response {
    if let Some(old) = &asker.session {
        shared.access.forget(old);
    }
    let mut response = see_other(to);
    set(&mut response, SESSION, secret, None);
    response
}

fn set(response: &mut Response, name: &str, value: &str, age: Option<u32>) {
    let age = age.map(|age| format!("; Max-Age={age}")).unwrap_or_default();
    let text = format!("{name}={value}; Secure; HttpOnly; SameSite=Strict; Path=/{age}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

fn status(why: &Refused) -> (StatusCode, Option<u64>) {
    match why {
        Refused::Wrong => (StatusCode::UNAUTHORIZED, None),
        Refused::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.as_secs().max(1))),
        Refused::Busy => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
        Refused::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
    }
}

fn refused(why: &Refused, lang: Lang) -> String {
    match why {
        Refused::Wrong => lang.say("Something of it is not right.", "信息有误。").to_owned(),
        Refused::TooMany(wait) => {
            let s = wait.as_secs().max(1);
            let wait = if s < 120 {
                format!("{s} s")
            } else if s < 7200 {
                format!("{} min", s.div_ceil(60))
            } else {
                format!("{} h", s.div_ceil(3600))
            };
            lang.say("Too many tries from here. Wait: ", "尝试次数过多，请等待：").to_owned() + &wait
        }
        Refused::Busy => lang.say("Too many are trying at once. Try again.", "请求过多，请重试。").to_owned(),
        Refused::NotRecorded(_) => lang
            .say(
                "The audit log does not take a record of it now, so it is refused.",
                "审计日志目前无法记录此操作，因此被拒绝。",
            )
            .to_owned(),
    }
}

fn not_joined(why: &NotJoined, lang: Lang) -> (StatusCode, String) {
    let unfit = |text: &str| (StatusCode::UNPROCESSABLE_ENTITY, text.to_owned());
    match why {
        NotJoined::Refused(Refused::Wrong) | NotJoined::Code(_) => {
            let words = lang.say(
                "This secret is not good, or not any more. A new one comes from `glassgate account` on the gateway.",
                "该密钥无效或已失效。可在网关上用 `glassgate account` 取得新的密钥。",
            );
            (StatusCode::UNAUTHORIZED, words.to_owned())
        }
        NotJoined::Refused(why) => (status(why).0, refused(why, lang)),
        NotJoined::Name => unfit(lang.say(
            "A name has 2 to 32 of a-z, 0-9, dot, hyphen and underscore, a letter first.",
            "账户名为 2 至 32 个字符：a-z、0-9、点、连字符、下划线，以字母开头。",
        )),
        NotJoined::Weak(weak) => {
            let (en, zh) = (
                format!("Another password, please: {}.", weak.en()),
                format!("请换一个密码：{}。", weak.zh()),
            );
            unfit(lang.say(&en, &zh))
        }
        NotJoined::NotKept(why) => (StatusCode::SERVICE_UNAVAILABLE, why.clone()),
    }
}

fn differ(lang: Lang) -> &'static str {
    lang.say("The two new passwords differ.", "两次输入的新密码不同。")
}

pub(super) fn hidden(token: &str, lang: Lang) -> Markup {
    html! {
        input type="hidden" name="token" value=(token);
        input type="hidden" name="lang" value=(lang.tag());
    }
}

fn wrong(why: Option<&str>) -> Markup {
    html! { @if let Some(why) = why { p .some role="alert" { (why) } } }
}

fn login(token: &str, next: &str, why: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let title = say("Log in", "登录");
    let body = html! {
        section .card .form {
            h1 { (title) }
            (wrong(why))
            form method="post" action="/login" {
                (hidden(token, lang))
                input type="hidden" name="next" value=(next);
                label { (say("Name", "账户名")) input name="name" autocomplete="username" maxlength="64" required autofocus; }
                label { (say("Password", "密码")) input name="password" type="password" autocomplete="current-password" maxlength="512" required; }
                label {
                    (say("Code", "验证码")) small { " " (say("of your phone, if you have one", "手机上的动态码（如有）")) }
                    input name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="16";
                }
                button { (title) }
            }
            p .note { (say("Handed a secret? ", "收到了密钥？")) a href=(format!("/join?lang={}", lang.tag())) { (say("Choose a password", "设置密码")) } }
            p .note { (say(
                "Who logs in is in the audit log. Nobody can be asked for a new password here: it takes the gateway's own command line.",
                "登录会记入审计日志。此处无法找回密码，需在网关命令行上重置。"
            )) }
        }
    };
    shell::plain(lang, title, &body)
}

fn join(token: &str, is_new: bool, why: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let title = if is_new {
        say("The first account", "首个账户")
    } else {
        say("Choose a password", "设置密码")
    };
    let body = html! {
        section .card .form {
            h1 { (title) }
            p .note { @if is_new { (say(
                "There is no account yet. The gateway wrote a secret to its console when it started; `glassgate account first-secret` prints a new one. It is good for 30 minutes, once, and makes an engineer.",
                "尚无账户。网关启动时已将密钥写到控制台；`glassgate account first-secret` 可生成新的密钥。密钥 30 分钟内有效，只能使用一次，所建账户为工程师。"
            )) } @else { (say(
                "With the secret that you were handed. It is good for a day, once.",
                "请使用交给您的密钥：一天内有效，只能使用一次。"
            )) } }
            (wrong(why))
            form method="post" action="/join" {
                (hidden(token, lang))
                label { (say("Secret", "密钥")) input name="secret" autocomplete="off" maxlength="64" required; }
                @if is_new { label { (say("Name", "账户名")) input name="name" autocomplete="username" maxlength="32" required; } }
                label {
                    (say("Password", "密码")) small { " " (say("15 to 128 characters", "15 至 128 个字符")) }
                    input name="new" type="password" autocomplete="new-password" minlength="15" maxlength="512" required;
                }
                label { (say("Password again", "再次输入密码")) input name="again" type="password" autocomplete="new-password" maxlength="512" required; }
                button { (say("Go on", "继续")) }
            }
        }
    };
    shell::plain(lang, title, &body)
}

fn confirm(token: &str, joining: &Joining, why: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let title = say("Codes", "验证码");
    let body = html! {
        section .card .form {
            h1 { (title) }
            p .note { (say(
                "Have a program for one-time codes on your phone read this, and type in the code that it shows.",
                "请用手机上的动态验证码程序扫描，并输入显示的验证码。"
            )) }
            (qr::draw(&joining.uri, say("The secret of the codes as a QR code", "验证码密钥二维码")))
            p { code { (joining.secret) } }
            (wrong(why))
            form method="post" action="/join/confirm" {
                (hidden(token, lang))
                input type="hidden" name="joining" value=(joining.token);
                label {
                    (say("Code", "验证码"))
                    @if joining.may_skip { small { " " (say("empty: no codes for this account", "留空：此账户不使用验证码")) } }
                    input name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="16" autofocus required[!joining.may_skip];
                }
                button { (say("Finish as ", "完成：")) (joining.name) }
            }
        }
    };
    shell::plain(lang, title, &body)
}

fn own(asker: &Asker, why: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let title = say("Account", "账户");
    let viewer = asker.viewer.clone();
    let token = viewer.as_ref().map(|viewer| viewer.token.clone()).unwrap_or_default();
    let body = html! {
        section .card .form {
            h1 { @if let Some(viewer) = &viewer { (viewer.account) " " span .pill { (role(viewer.role, lang)) } } }
            form method="post" action="/logout" { (hidden(&token, lang)) button { (say("Log out", "退出登录")) } }
        }
        section .card .form {
            h2 { (say("Another password", "更改密码")) }
            (wrong(why))
            form method="post" action="/account/password" {
                (hidden(&token, lang))
                label { (say("Password now", "当前密码")) input name="old" type="password" autocomplete="current-password" maxlength="512" required; }
                label {
                    (say("New password", "新密码")) small { " " (say("15 to 128 characters", "15 至 128 个字符")) }
                    input name="new" type="password" autocomplete="new-password" minlength="15" maxlength="512" required;
                }
                label { (say("New password again", "再次输入新密码")) input name="again" type="password" autocomplete="new-password" maxlength="512" required; }
                button { (say("Change", "更改")) }
            }
            p .note { (say("Everywhere else you are logged out.", "其他位置的登录将被退出。")) " " a href="/" { (say("Back to the figures", "返回")) } }
        }
    };
    shell::plain(lang, title, &body)
}

fn role(role: crate::access::Role, lang: Lang) -> &'static str {
    use crate::access::Role;
    let (en, zh) = match role {
        Role::Operator => ("operator", "操作员"),
        Role::Engineer => ("engineer", "工程师"),
        Role::Auditor => ("auditor", "审计员"),
        Role::HumanResources => ("human resources", "人力资源"),
        Role::DataProtectionOfficer => ("data-protection officer", "个人信息保护负责人"),
        Role::WorksCouncil => ("works council", "职工代表"),
    };
    lang.say(en, zh)
}
