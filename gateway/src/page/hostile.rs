//! Names that somebody made to do harm, and a gateway that has them in every place where a page shows a text that it did not make itself.
//!
//! The names are made by rule: what browsers run, wrapped in what parsers stumble over; what terminals obey; what turns text round; what
//! can't be seen; what looks like something else; and what is long.

use super::sample;
use crate::control::snapshot::Snapshot;
use crate::control::told::{CharterNow, DeviceNow, NoticeTold, PurposeTold, Tell};
use crate::control::{CaseAnswer, CaseAsk, Command};
use glassgate_policy::explain::Explanation;
use glassgate_sealed::case::Summary;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use tokio::sync::watch;

/// How many.
pub(crate) const NAMES: usize = 500;
/// What a browser must not run. Each says in its own way that it was run.
const RUN: [&str; 24] = [
    "<script>hit(0)</script>",
    "<img src=x onerror=hit(1)>",
    "<svg onload=hit(2)>",
    "<svg><script>hit(3)</script></svg>",
    "<details open ontoggle=hit(4)>",
    "<iframe srcdoc='<script>parent.hit(5)</script>'>",
    "<a href=javascript:hit(6)>",
    "<body onload=hit(7)>",
    "<input autofocus onfocus=hit(8)>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/a.css>",
    "<style>*{display:none}</style>",
    "<form action=https://evil.example/><button>Go on</button></form>",
    "<object data=javascript:hit(9)>",
    "<math><maction actiontype=statusline xlink:href=javascript:hit(10)>",
    "<template><script>hit(11)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=hit(12)>'>",
    "<!--<img src=x onerror=hit(13)>-->",
    "javascript:hit(14)",
    " onmouseover=hit(15) x=",
    "{{constructor.constructor('hit(16)')()}}",
    "${hit(17)}",
    "<video><source onerror=hit(18)>",
];
/// What it is wrapped in: before, after.
const WRAPPED: [(&str, &str); 13] = [
    ("", ""),
    ("\"", "\""),
    ("'", "'"),
    ("`", "`"),
    ("\">", ""),
    ("'>", ""),
    ("</title>", ""),
    ("</textarea>", ""),
    ("</script>", ""),
    ("-->", "<!--"),
    ("]]>", ""),
    ("\0", "\0"),
    ("<", ">"),
];
/// Obeyed by terminals, and by whoever reads a log or a table line by line.
const OBEYED: [&str; 8] = [
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}]0;owned\u{7}",
    "\u{9b}31m",
    "a\r\n2026-01-01T00:00:00.000Z control   INFO all is well",
    "a\rb",
    "=cmd|' /C calc'!A0",
    "%n%n%s",
    "'; DROP TABLE record; --",
];
/// Turns text round, or can't be seen.
const HIDDEN: [char; 18] = [
    '\u{202e}',
    '\u{202d}',
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{2066}',
    '\u{2067}',
    '\u{2068}',
    '\u{2069}',
    '\u{200e}',
    '\u{200f}',
    '\u{61c}',
    '\u{200b}',
    '\u{200d}',
    '\u{2060}',
    '\u{feff}',
    '\u{ad}',
    '\u{e0041}',
];
/// Looks like something else.
const ALIKE: [&str; 8] = [
    "раураl.com", // Cyrillic
    "ｗｗｗ．ｚｈｉｐｉｎ．ｃｏｍ",
    "xn--pypal-4ve.com",
    "zhıpın.com",
    "𝐳𝐡𝐢𝐩𝐢𝐧.com",
    "zhipin。com",
    "z\u{337}h\u{335}i\u{334}p\u{338}i\u{336}n",
    "İSTANBUL",
];

/// All of them; neighbours are of different kinds.
pub(crate) fn names() -> Vec<String> {
    let mut all = Vec::new();
    for run in RUN {
        all.extend(WRAPPED.iter().map(|(before, after)| format!("{before}{run}{after}")));
    }
    all.extend((0..=0xa0).filter_map(char::from_u32).filter(|c| c.is_control()).map(|c| format!("a{c}b")));
    all.extend(
        HIDDEN.iter().flat_map(|c| [format!("photo{c}gpj.exe"), format!("{c}"), format!("{c}<b>{c}")]),
    );
    all.extend(OBEYED.iter().chain(&ALIKE).map(|text| (*text).to_owned()));
    for part in ["W", "招聘", "e\u{301}\u{302}\u{303}", "<b>", "&amp;", "🦀"] {
        all.extend([64, 1000].map(|times| part.repeat(times)));
    }
    let mut seen = BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    // Bytes of no meaning, the same on each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while all.len() < NAMES {
        let bytes: Vec<u8> = (0..40)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        all.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    // 500 and 77 have no factor in common.
    (0..NAMES).filter_map(|n| all.get(n * 77 % NAMES).cloned()).collect()
}

/// Gives out names, one after the other.
pub(crate) struct Names {
    all: Vec<String>,
    next: usize,
}

impl Names {
    pub(crate) fn from(offset: usize) -> Self {
        Self { all: names(), next: offset }
    }

    fn next(&mut self) -> String {
        self.next += 1;
        self.all[(self.next - 1) % NAMES].clone()
    }

    /// The same with another text in every place.
    fn all_of<T: Serialize + DeserializeOwned>(&mut self, value: &T, kept: &[&str]) -> T {
        let mut value = serde_json::to_value(value).unwrap();
        self.replace(&mut value, kept);
        serde_json::from_value(value).unwrap()
    }

    fn replace(&mut self, value: &mut Value, kept: &[&str]) {
        match value {
            Value::String(text) => *text = self.next(),
            Value::Array(all) => all.iter_mut().for_each(|value| self.replace(value, kept)),
            Value::Object(all) => {
                let others = all.iter_mut().filter(|(name, _)| !kept.contains(&name.as_str()));
                others.for_each(|(_, value)| self.replace(value, kept));
            }
            _ => {}
        }
    }

    /// What passes now; every name is among its troubles.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let plain = complete();
        let mut now = self.all_of(&plain, &[]);
        now.troubles = self.all.clone();
        // By which the page knows what stands where.
        for (process, plain) in now.processes.iter_mut().zip(&plain.processes).take(1) {
            process.name.clone_from(&plain.name);
        }
        now.policy.lists[1].state = "held".to_owned();
        now
    }

    pub(crate) fn charter(&mut self) -> CharterNow {
        let mut told = sample::charter();
        (told.trouble, told.until) = (Some(self.next()), Some(self.next()));
        let Some(charter) = &mut told.charter else { return told };
        for text in [
            &mut charter.name,
            &mut charter.sha256,
            &mut charter.controller,
            &mut charter.contact,
            &mut charter.issued,
            &mut charter.expires,
            &mut charter.zone,
        ] {
            *text = self.next();
        }
        for approver in &mut charter.approvers {
            (approver.name, approver.key) = (self.next(), self.next());
        }
        charter.revoked_by = vec![charter.approvers[0].name.clone()];
        charter.exempt.iter_mut().for_each(|group| *group = self.next());
        charter.purposes.iter_mut().for_each(|purpose| self.purpose(purpose));
        for calendar in &mut charter.calendars {
            (calendar.name, calendar.zone) = (self.next(), self.next());
            calendar.valid = [self.next(), self.next()];
            calendar.week.iter_mut().for_each(|day| day.date = self.next());
        }
        charter.notices.iter_mut().for_each(|notice| self.notice(notice));
        charter.holders = vec![(self.next(), self.next())];
        told
    }

    fn purpose(&mut self, purpose: &mut PurposeTold) {
        for text in [&mut purpose.document, &mut purpose.document_sha256, &mut purpose.notice] {
            *text = self.next();
        }
        purpose.groups.iter_mut().for_each(|group| *group = self.next());
        (purpose.calendar, purpose.expires) = (Some(self.next()), Some(self.next()));
    }

    fn notice(&mut self, notice: &mut NoticeTold) {
        (notice.version, notice.given) = (self.next(), Some(self.next()));
        notice.text = ["en", "zh"].into_iter().map(|tag| (tag.to_owned(), self.next())).collect();
        // In the place of the tag as well.
        notice.text.insert(format!("en-{}", self.next()), self.next());
    }

    pub(crate) fn device(&mut self) -> DeviceNow {
        let mut told = sample::device();
        told.group = Some(self.next());
        (told.controller, told.contact) = (Some(self.next()), Some(self.next()));
        told.charter = Some((self.next(), 3, self.next()));
        told.purposes.iter_mut().for_each(|purpose| self.purpose(purpose));
        told.notices.iter_mut().for_each(|(notice, _)| self.notice(notice));
        told
    }

    pub(crate) fn case(&mut self) -> Summary {
        let mut case = sample::case();
        (case.case, case.purpose, case.reason) = (self.next(), self.next(), self.next());
        case.categories = vec![self.next(), self.next()];
        for done in [&mut case.opened, &mut case.approved, &mut case.shown].into_iter().flatten() {
            (done.by.role, done.by.name) = (self.next(), self.next());
        }
        case
    }

    pub(crate) fn explanation(&mut self) -> Explanation {
        let mut told = sample::explanation("www.zhipin.com");
        told.name = Some(self.next());
        if let Some(service) = &mut told.service {
            (service.key, service.title) = (self.next(), self.next());
        }
        for rule in &mut told.rules {
            (rule.rule, rule.action, rule.says) = (self.next(), self.next(), self.next());
        }
        (told.action, told.decided_by) = (self.next(), Some(self.next()));
        told.gates.iter_mut().for_each(|gate| gate.why = self.next());
        told
    }
}

/// The sample, with what is only there when something is wrong.
pub(super) fn complete() -> Snapshot {
    let mut now = sample::snapshot();
    let words = || Some("words".to_owned());
    now.troubles = vec!["words".to_owned()];
    (now.policy.rejected, now.policy.refused) = (words(), words());
    (now.events.log_trouble, now.events.witness_trouble) = (words(), words());
    now.log.store.trouble = words();
    now.held_port = Some(["lan".to_owned(), "uplink".to_owned()]);
    now.bypass = Some(Default::default());
    now.policy.lists.iter_mut().for_each(|list| list.trouble = words());
    now
}

/// Records whose words are hostile, each name in some of them: how many seconds ago, and what they say.
pub(crate) fn records() -> Vec<(i64, String)> {
    let hour = |ago: i64| {
        let now = jiff::Timestamp::now().as_second();
        let at = now - now.rem_euclid(3600) - ago * 3600;
        jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default()
    };
    let mut records = Vec::new();
    for (n, name) in names().into_iter().enumerate() {
        let ago = 60 + n as i64 * 5;
        records
            .push((ago, json!({ "event_type": "policy", "cause": name, "rules": { name.clone(): name } })));
        // More flows than anything else has, so that it is shown.
        let (from, to) = (hour(2 + n as i64 / 60), hour(1 + n as i64 / 60));
        records.push((
            ago,
            json!({
                "event_type": "group_rollup", "level": "aggregate", "start": from, "end": to, "complete": true, "span": "hour",
                "group": name, "category": name, "service": name, "subjects": "10-19", "k": 10, "flows": 10_000_000 + n,
                "flow": { "bytes_toserver": 1, "bytes_toclient": 1 }, "visits": 1, "active_s": 1,
            }),
        ));
        records.push((
            ago,
            json!({
                "event_type": "blindness", "start": from, "end": to, "flows": 1, "not_looked_at": 0,
                "evidence": { name.clone(): 1 }, "reasons": { name: 1 }, "too_weak": 0,
            }),
        ));
    }
    records.into_iter().map(|(ago, record)| (ago, record.to_string())).collect()
}

/// Answers views as a slow path would. Whoever asks why `17.offset.example` is treated as it is, moves all names by 17 places.
pub(crate) fn answering(to_do: mpsc::Receiver<Command>, now: watch::Sender<Arc<Snapshot>>) {
    now.send_replace(Arc::new(Names::from(0).snapshot()));
    std::thread::spawn(move || {
        let mut offset = 0;
        for command in to_do {
            let mut names = Names::from(offset);
            // Whoever asked may have gone.
            match command {
                Command::Tell(Tell::Charter(answer)) => _ = answer.send(names.charter()),
                Command::Tell(Tell::Device(_, answer)) => _ = answer.send(names.device()),
                Command::Tell(Tell::Explain { name, answer, .. }) => {
                    if let Some(n) = name.strip_suffix(".offset.example").and_then(|n| n.parse().ok()) {
                        offset = n;
                        now.send_replace(Arc::new(Names::from(offset).snapshot()));
                    }
                    _ = answer.send(if name.contains("error") { Err(name) } else { Ok(names.explanation()) });
                }
                Command::Case { ask: CaseAsk::List, answer, .. } => {
                    _ = answer.send(Ok(CaseAnswer::Cases(vec![names.case()])));
                }
                Command::Case { answer, .. } => _ = answer.send(Err(names.next())),
                other => drop(other),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{peer, server, stage};
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, header};
    use tower::ServiceExt as _;

    /// Names of elements, and of attributes of each, as they stand in a page. Text has no `<`, and a value in quotes no quote.
    fn tags(page: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for rest in page.split('<').skip(1) {
            let mut tag = String::new();
            // What stands in quotes is a value.
            for (at, part) in rest.split('"').enumerate() {
                if at % 2 == 0 {
                    let (inside, end) =
                        part.split_once('>').map_or((part, false), |(inside, _)| (inside, true));
                    tag.push_str(inside);
                    if end {
                        break;
                    }
                }
            }
            found.insert(tag);
        }
        found
    }

    #[test]
    fn in_every_place_of_every_view_they_are_text() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut known: BTreeSet<String> = BTreeSet::new();
            for hostile in [false, true] {
                let (now, snapshot) = watch::channel(Arc::new(complete()));
                let (commands, to_do) = mpsc::channel();
                let (_kept, (_dir, past)) = if hostile {
                    answering(to_do, now);
                    (None, sample::past_with(records()))
                } else {
                    sample::answering(to_do);
                    (Some(now), sample::past())
                };
                let (shared, stage) = stage::shared(snapshot, commands, past);
                // Until all records are there to be shown.
                while shared.past.log_now().store.next == 0
                    || shared.past.log_now().store.next < shared.past.log_now().entries
                {
                    std::thread::yield_now();
                }
                let router = super::super::router(shared);
                let get = async |path: &str| {
                    let request = Request::get(path).header(header::HOST, "localhost:8480");
                    let token = format!("Bearer {}", stage.tokens[1]);
                    let mut request =
                        request.header(header::AUTHORIZATION, token).body(Body::empty()).unwrap();
                    let address = "10.9.0.7:50000".parse().unwrap();
                    request.extensions_mut().insert(peer::Peer { address, side: peer::Side::Management });
                    request.extensions_mut().insert(server::Channel::Tls);
                    let answer = router.clone().oneshot(request).await.unwrap();
                    assert_eq!(answer.status(), 200, "{path}");
                    let body = to_bytes(answer.into_body(), 16 << 20).await.unwrap();
                    String::from_utf8(body.to_vec()).unwrap()
                };
                let all = names();
                let encoded = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
                for offset in (0..NAMES).step_by(if hostile { 11 } else { NAMES }) {
                    let name = encoded(&all[offset]);
                    let asked = if hostile {
                        format!("name={offset}.offset.example&group={name}")
                    } else {
                        "name=www.zhipin.com".to_owned()
                    };
                    get(&format!("/rules?{asked}")).await;
                    for path in [
                        "/?".to_owned(),
                        "/traffic?".to_owned(),
                        format!("/rules?{asked}&"),
                        format!("/rules?name=error{name}&"),
                        "/charter?".to_owned(),
                        "/cases?".to_owned(),
                        format!("/log?kind={name}&"),
                        "/log?".to_owned(),
                        "/log?kind=policy&".to_owned(),
                        "/log?kind=gap&".to_owned(),
                        "/system?".to_owned(),
                        "/device?".to_owned(),
                        format!("/login?next={name}&"),
                    ] {
                        for lang in ["en", "zh"] {
                            let page = get(&format!("{path}lang={lang}")).await;
                            let found = tags(&page);
                            if hostile {
                                let strange: Vec<_> = found.difference(&known).collect();
                                assert!(strange.is_empty(), "{path} at {offset}: {strange:?}");
                                assert_eq!(crate::visible::visible(&page), page, "{path} at {offset}");
                            } else {
                                known.extend(found);
                            }
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn five_hundred_different_names_of_every_kind() {
        let all = names();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), NAMES);
        for kind in ["<script>", "\u{1b}", "\u{202e}", "\0", "раураl", "\u{e0041}"] {
            assert!(all.iter().any(|name| name.contains(kind)), "{kind:?}");
        }
        assert!(all.iter().any(|name| name.chars().count() >= 1000));
    }
}
