//! How somebody comes in, by the forms of the page: typed and clicked.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use ring::hmac;

use super::look::{At, drain};
use super::{SOON, pictures, text};
use crate::actions::Tried;
use crate::lab::webdriver::{Browser, PHONE, WIDE};

/// Seconds that a code is of (RFC 6238).
const STEP_S: u64 = 30;

/// Somebody with a password.
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) password: &'static str,
}

/// Somebody with a phone that shows codes.
pub(super) struct WithPhone {
    person: Person,
    secret: String,
    /// The step of the last code that was typed in.
    used: u64,
}

/// Makes the first account with the secret of the first start, and logs out.
pub(super) fn first(at: &At<'_>, secret: &str, tried: &mut Tried<'_>) -> Result<WithPhone> {
    let person = Person { name: "engineer", password: "three ships in one green bottle" };
    let (browser, base) = (at.browser, &at.base);
    browser.screen(PHONE)?;
    browser.go(&format!("{base}/?lang=en"))?;
    let heading = text(browser, "document.querySelector('h1').innerText")?;
    tried.hold(
        "without an account: the page leads to the first",
        heading == "The first account",
        browser.address()?,
    );
    browser.write("input[name=name]", person.name)?;
    let joined = join(at, person, secret, "first")?;
    tried.hold("the first account is made with the secret of the start", true, browser.address()?);
    browser.go(&format!("{base}/account"))?;
    browser.draw(&pictures().join("gateway-account-en-phone.png"), true)?;
    browser.click("form[action='/logout'] button")?;
    browser.await_true("location.pathname === '/login'", SOON)?;
    browser.draw(&pictures().join("gateway-login-en-phone.png"), true)?;
    browser.screen(WIDE)?;
    drain(browser)?;
    Ok(joined)
}

/// Makes the first account of a page, and leaves the browser in its session.
pub(crate) fn make_first(browser: &Browser, base: &str, secret: &str) -> Result<()> {
    let person = Person { name: "engineer", password: "three ships in one green bottle" };
    let at = At { browser, base: base.to_owned(), name: "first" };
    browser.screen(WIDE)?;
    browser.go(&format!("{base}/join?lang=en"))?;
    browser.write("input[name=name]", person.name)?;
    join(&at, person, secret, "firmware").map(drop)
}

/// Joins with an invitation; the session begins.
pub(super) fn joins(at: &At<'_>, person: &Person, secret: &str, tried: &mut Tried<'_>) -> Result<()> {
    at.browser.forget_cookies()?;
    at.browser.go(&format!("{}/join?lang=zh", at.base))?;
    let person = Person { name: person.name, password: person.password };
    join(at, person, secret, "invited")?;
    drain(at.browser)?;
    tried.hold("somebody joins with an invitation", true, at.browser.address()?);
    Ok(())
}

fn join(at: &At<'_>, person: Person, secret: &str, name: &str) -> Result<WithPhone> {
    let browser = at.browser;
    browser.write("input[name=secret]", secret)?;
    browser.write("input[name=new]", person.password)?;
    browser.write("input[name=again]", person.password)?;
    browser.click("form button")?;
    browser
        .await_true("document.querySelector('svg.qr') && document.querySelector('input[name=code]')", SOON)?;
    browser.draw(&pictures().join(format!("gateway-codes-{name}.png")), true)?;
    let secret = text(browser, "document.querySelector('.form code').innerText")?;
    let mut joined = WithPhone { person, secret, used: 0 };
    browser.write("input[name=code]", &joined.code()?)?;
    browser.click("form button")?;
    browser.await_true("location.pathname === '/' && document.querySelector('main#now .views')", SOON)?;
    Ok(joined)
}

/// Logs in: first with a wrong password, then with the right one and a code.
pub(super) fn comes_back(at: &At<'_>, who: &WithPhone, tried: &mut Tried<'_>) -> Result<()> {
    let browser = at.browser;
    browser.go(&format!("{}/system", at.base))?;
    browser.await_true("location.pathname === '/login'", SOON)?;
    let mut who = WithPhone {
        person: Person { name: who.person.name, password: who.person.password },
        secret: who.secret.clone(),
        used: who.used,
    };
    let code = who.code()?;
    let fill = |password: &str, code: &str| -> Result<()> {
        browser.write("input[name=name]", who.person.name)?;
        browser.write("input[name=password]", password)?;
        browser.write("input[name=code]", code)?;
        browser.click("form button")
    };
    fill("not what it is, by far", "000000")?;
    browser.await_true("document.querySelector('[role=alert]')", SOON)?;
    let said = text(browser, "document.querySelector('[role=alert]').innerText")?;
    tried.hold("a wrong password is refused in words", said == "Something of it is not right.", said);
    fill(who.person.password, &code)?;
    let led = browser.await_true("location.pathname === '/system'", SOON);
    tried.hold(
        "login with password and code, to the view that was asked for",
        led.is_ok(),
        browser.address()?,
    );
    // That the first was refused stands in the console.
    drain(browser)?;
    led
}

/// A view that the role may not have says so, in the language that was asked for.
pub(super) fn is_denied(at: &At<'_>, path: &str, tried: &mut Tried<'_>) -> Result<()> {
    at.browser.go(&format!("{}{path}?lang=zh", at.base))?;
    let said = text(at.browser, "document.querySelector('h1').innerText")?;
    tried.hold(&format!("{path} is not for an engineer, and says so"), said == "无权访问", said);
    drain(at.browser)
}

impl WithPhone {
    /// The code of this moment; of the next, if that of this one was used. A neighbour is as good.
    fn code(&mut self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / STEP_S;
        self.used = now.max(self.used + 1);
        code(&self.secret, self.used).context("the secret of the codes is not in base 32")
    }
}

/// The code of the next half minute, of a secret in base 32: those of the moment at which a gateway started are not taken.
pub(crate) fn code_soon(secret: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / STEP_S;
    code(secret, now + 1).context("the secret of the codes is not in base 32")
}

/// RFC 4226, section 5.3, of a secret in base 32.
fn code(secret: &str, step: u64) -> Option<String> {
    let digits = secret.bytes().map(|byte| match byte {
        b'A'..=b'Z' => Some(u64::from(byte - b'A')),
        b'2'..=b'7' => Some(u64::from(byte - b'2') + 26),
        _ => None,
    });
    let (mut bits, mut held, mut key) = (0u64, 0, Vec::new());
    for digit in digits {
        bits = bits << 5 | digit?;
        held += 5;
        if held >= 8 {
            held -= 8;
            key.push((bits >> held) as u8);
        }
    }
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag.last()? & 15);
    let word = tag.get(at..at + 4)?;
    let number = u32::from_be_bytes(word.try_into().ok()?) & 0x7fff_ffff;
    Some(format!("{:06}", number % 1_000_000))
}

#[cfg(test)]
mod tests {
    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, of "12345678901234567890", its last six digits.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (second, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(super::code(secret, second / 30).as_deref(), Some(code), "{second}");
        }
    }
}
