//! `glassgate case …`: asks the gateway, signs, and shows what it answers.
//!
//! Keys and identities stay in this process; the gateway gets signatures, and shares sealed to the case.

use crate::ask::{ask, socket};
use crate::charter::read_key;
use crate::cli::Ask;
use crate::cli::case::{Case as Verb, Identity, Keys, Open, Read, Request as Fetch, Say, Sign, Submit};
use crate::config::read_bounded;
use crate::control::socket::{Answer, Question};
use crate::control::{CaseAnswer, CaseAsk};
use crate::exit::{Ended, Exit};
use anyhow::{Context as _, Result};
use glassgate_policy::case::CaseAct;
use glassgate_sealed::case::{Asked, Brief, Request, Statement, Step, Summary};
use glassgate_sealed::holder::{Identity as HoldersIdentity, new_identity, read_identity, read_view, sign};
use glassgate_sealed::keys::Listed;
use glassgate_sealed::view::View;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The longest file that is read: what a look shows of a busy month.
const MAX_FILE: u64 = 64 << 20;

/// Runs a verb.
pub(crate) fn run(verb: &Verb) -> Result<Exit> {
    match verb {
        Verb::Identity(args) => identity(args),
        Verb::Open(args) => open(args),
        Verb::List(args) => list(args),
        Verb::Request(args) => request(args),
        Verb::Approve(args) => say(CaseAct::Approve, args),
        Verb::Refuse(args) => say(CaseAct::Refuse, args),
        Verb::Show(args) => say(CaseAct::Show, args),
        Verb::Close(args) => say(CaseAct::Close, args),
        Verb::Letter(args) => letter(args),
        Verb::Tell(args) => say(CaseAct::Tell, args),
        Verb::Sign(args) => sign_here(args),
        Verb::Submit(args) => submit(args),
        Verb::Read(args) => read(args),
        Verb::Keys(args) => keys(args),
    }
}

fn identity(args: &Identity) -> Result<Exit> {
    let name = args.file.display();
    let (text, recipient) = new_identity();
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    match made {
        Ok(mut file) => {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| format!("writing {name}"))?;
            crate::print(&format!("{recipient}\n"))
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let there = identity_in(&args.file)?;
            crate::print(&format!("{}\n", there.to_public()))
        }
        Err(e) => Err(Ended::new(Exit::Invalid, format!("{name} can't be made: {e}")).into()),
    }
}

fn open(args: &Open) -> Result<Exit> {
    let asked = Asked {
        subject: args.subject.clone(),
        purpose: args.purpose.clone(),
        categories: args.categories.clone(),
        from: args.from,
        to: args.to,
        reason: args.reason.clone(),
        valid_days: args.valid,
    };
    // Keys first: nothing is asked that could not be signed.
    let signing = args.key.as_deref().map(read_key).transpose()?;
    let identity = args.identity.as_deref().map(identity_in).transpose()?;
    let CaseAnswer::Brief(brief) = question(&args.ask, CaseAsk::Draft(asked))? else { return other_answer() };
    let Some(signing) = signing else {
        return crate::print(&(serde_json::to_string_pretty(&brief)? + "\n"));
    };
    let said = sign(&brief, CaseAct::Open, &signing, identity.as_ref()).map_err(invalid)?;
    if !args.ask.json {
        eprint!("{}", in_words(&brief)?);
    }
    answer(&args.ask, &said, None)
}

fn list(args: &Ask) -> Result<Exit> {
    let CaseAnswer::Cases(cases) = question(args, CaseAsk::List)? else { return other_answer() };
    if args.json {
        return crate::print(&(serde_json::to_string(&cases)? + "\n"));
    }
    if cases.is_empty() {
        return crate::print("no cases\n");
    }
    let today = crate::clock::shown_day();
    crate::print(&cases.iter().map(|case| line_of(case, today)).collect::<String>())
}

fn line_of(case: &Summary, today: jiff::civil::Date) -> String {
    let step = match (case.step, &case.told, case.tell_on) {
        (Step::Shown, Some(_), _) => "shown, the subject was told".to_owned(),
        (Step::Shown, None, Some(day)) if day <= today => {
            format!("shown, THE SUBJECT IS TO BE TOLD since {day}")
        }
        (Step::Shown, None, Some(day)) => format!("shown, the subject is to be told on {day}"),
        (step, ..) => word(step).to_owned(),
    };
    let by = |what: &str, done: &Option<glassgate_sealed::case::Done>| {
        done.as_ref().map(|done| format!(", {what} by {}", done.by.role)).unwrap_or_default()
    };
    format!(
        "{}  {}  {} to {}  {} ({}){}{}{}  {step}\n",
        case.case,
        case.purpose,
        case.from,
        case.to,
        case.categories.join(", "),
        case.reason,
        by("opened", &case.opened),
        by("approved", &case.approved),
        by("shown", &case.shown),
    )
}

fn request(args: &Fetch) -> Result<Exit> {
    let CaseAnswer::Brief(brief) = question(&args.ask, CaseAsk::Brief(args.case.clone()))? else {
        return other_answer();
    };
    crate::print(&(serde_json::to_string_pretty(&brief)? + "\n"))
}

/// What tells the subject that somebody looked.
fn letter(args: &Fetch) -> Result<Exit> {
    let CaseAnswer::Cases(cases) = question(&args.ask, CaseAsk::List)? else { return other_answer() };
    let Some(summary) = cases.into_iter().find(|case| case.case == args.case) else {
        let why = format!("there is no case {}: `glassgate case list` shows those there are", args.case);
        return Err(Ended::new(Exit::Invalid, why).into());
    };
    if summary.step != Step::Shown {
        let why = format!("nobody has looked: the case is {}", word(summary.step));
        return Err(Ended::new(Exit::Invalid, why).into());
    }
    let CaseAnswer::Brief(brief) = question(&args.ask, CaseAsk::Brief(args.case.clone()))? else {
        return other_answer();
    };
    let request = Request::read(&brief.request).map_err(|e| Ended::new(Exit::Invalid, e))?;
    let Request { gateway, subject, from, to, salt: code, .. } = &request;
    if args.ask.json {
        let letter =
            serde_json::json!({ "gateway": gateway, "subject": subject, "code": code, "case": summary });
        return crate::print(&format!("{letter}\n"));
    }
    let categories = summary.categories.join(", ");
    crate::print(&format!(
        "Sealed records of {subject} were looked at: {categories}, {from} to {to}, case {case} at {gateway}.\n\
         On the page of the gateway, under \"My device\" (from any device on its network: /device), type in\n\n  \
         subject  {subject}\n  code     {code}\n\n\
         and it tells who asked, who approved, who looked, when and why, and how to object. Keep the code to yourself: it tells\n\
         nobody what was seen, but that it was about you.\n\n\
         {subject} 的封存记录已被查看：{categories}，{from} 至 {to}，个案 {case}（{gateway}）。\n\
         请在网关页面的“我的设备”（从本网络任一设备打开 /device）输入上述代号（subject）与验证码（code），\n\
         即可得知由谁申请、谁批准、谁查看、时间与理由，以及如何提出异议。请妥善保管验证码：它不透露所见内容，但会透露个案涉及您。\n",
        case = summary.case,
    ))
}

fn say(act: CaseAct, args: &Say) -> Result<Exit> {
    let signing = read_key(&args.key)?;
    let identity = args.identity.as_deref().map(identity_in).transpose()?;
    if act == CaseAct::Show && identity.is_none() {
        let why = "what is shown is sealed to your identity: name it with --identity";
        return Err(Ended::new(Exit::Usage, why.to_owned()).into());
    }
    let CaseAnswer::Brief(brief) = question(&args.ask, CaseAsk::Brief(args.case.clone()))? else {
        return other_answer();
    };
    let said = sign(&brief, act, &signing, identity.as_ref()).map_err(invalid)?;
    // Whoever signs sees what.
    if !args.ask.json {
        eprint!("{}", in_words(&brief)?);
    }
    answer(&args.ask, &said, identity.as_ref())
}

/// Signs without asking a gateway.
fn sign_here(args: &Sign) -> Result<Exit> {
    let signing = read_key(&args.key)?;
    let identity = args.identity.as_deref().map(identity_in).transpose()?;
    let brief: Brief = json_in(&args.file)?;
    let said = sign(&brief, args.act, &signing, identity.as_ref()).map_err(invalid)?;
    eprint!("{}", in_words(&brief)?);
    crate::print(&(serde_json::to_string_pretty(&said)? + "\n"))
}

fn submit(args: &Submit) -> Result<Exit> {
    answer(&args.ask, &json_in(&args.file)?, None)
}

/// Hands in what was said, and prints what comes of it.
fn answer(args: &Ask, said: &Statement, identity: Option<&HoldersIdentity>) -> Result<Exit> {
    let done = question(args, CaseAsk::Submit(said.clone()))?;
    if let (CaseAnswer::Shown(sealed), Some(identity)) = (&done, identity) {
        return print_view(sealed, identity, args.json);
    }
    if args.json {
        return crate::print(&(serde_json::to_string(&done)? + "\n"));
    }
    crate::print(&match done {
        CaseAnswer::Step(case, step) => format!("case {case}: {}\n", word(step)),
        CaseAnswer::Told(case) => format!("case {case}: it is on record that the subject was told\n"),
        CaseAnswer::Shown(sealed) => sealed + "\n",
        _ => return other_answer(),
    })
}

fn read(args: &Read) -> Result<Exit> {
    let identity = identity_in(&args.identity)?;
    let text = String::from_utf8_lossy(&file(&args.file)?).into_owned();
    print_view(&text, &identity, args.json)
}

fn print_view(sealed: &str, identity: &HoldersIdentity, json: bool) -> Result<Exit> {
    let view = read_view(sealed, identity).map_err(invalid)?;
    crate::print(&if json { serde_json::to_string_pretty(&view)? + "\n" } else { shown(&view) })
}

fn keys(args: &Keys) -> Result<Exit> {
    let question_ = if args.clock_is_right { CaseAsk::ClockIsRight } else { CaseAsk::Keys };
    let done = question(&args.ask, question_)?;
    if args.ask.json {
        return crate::print(&(serde_json::to_string(&done)? + "\n"));
    }
    crate::print(&match done {
        CaseAnswer::Keys(keys) if keys.is_empty() => {
            "no keys: nothing is sealed that could be opened\n".to_owned()
        }
        CaseAnswer::Keys(keys) => keys.iter().map(line_of_key).collect(),
        CaseAnswer::Destroyed(keys) if keys.is_empty() => "no key is over by the clock\n".to_owned(),
        CaseAnswer::Destroyed(keys) => keys.iter().map(|key| format!("{key} destroyed\n")).collect(),
        _ => return other_answer(),
    })
}

fn line_of_key(key: &Listed) -> String {
    let over = if key.over_by_the_clock { ", over by the wall clock" } else { "" };
    format!("{}  kept for {} of {} days{over}\n", key.key, key.kept_days, key.retention_days)
}

fn question(args: &Ask, what: CaseAsk) -> Result<CaseAnswer> {
    match ask(&socket(args)?, &Question::Case(what))? {
        Answer::Case(answer) => Ok(answer),
        Answer::Denied(why) => Err(Ended::new(Exit::Invalid, format!("denied: {why}")).into()),
        _ => anyhow::bail!("the gateway gave another answer than was asked for"),
    }
}

fn other_answer<T>() -> Result<T> {
    anyhow::bail!("the gateway gave another answer than was asked for")
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Drafted => "drafted, nobody has signed it",
        Step::Open => "open, another holder must approve it",
        Step::Approved => "approved, it can be looked at once",
        Step::Shown => "shown",
        Step::Refused => "refused",
        Step::Closed => "closed",
        Step::Expired => "expired",
    }
}

/// What is signed, for who signs it.
fn in_words(brief: &Brief) -> Result<String> {
    let request = Request::read(&brief.request).map_err(|e| Ended::new(Exit::Invalid, e))?;
    let Request { case, gateway, subject, purpose, categories, from, to, reason, expires, .. } = request;
    let expires = crate::clock::shown(expires);
    Ok(format!(
        "case {case} at {gateway}\n  subject     {subject}\n  purpose     {purpose}\n  categories  {}\n  days        {from} to {to}, {} keys\n  reason      {reason}\n  until       {expires}\n",
        categories.join(", "),
        brief.keys.len()
    ))
}

/// A look, for people.
fn shown(view: &View) -> String {
    let View { case, gateway, subject, purpose, from, to, reason, .. } = view;
    let mut text = format!(
        "case {case} at {gateway}: {subject}, {from} to {to}, {}\nfor {purpose}, {reason}; opened by {} ({}), approved by {} ({}), shown to {} ({})\n\n",
        view.categories.join(", "),
        view.opened_by.name,
        view.opened_by.role,
        view.approved_by.name,
        view.approved_by.role,
        view.shown_to.name,
        view.shown_to.role,
    );
    for seen in &view.sessions {
        let facts = &seen.facts;
        let at = |at: Option<jiff::Timestamp>| at.map_or("?".to_owned(), crate::clock::shown);
        // Writing to a string can't fail.
        _ = writeln!(
            text,
            "{} – {}  {} ({})  {} s active, {} flows, {} bytes up, {} down, known by {}  [record {}]",
            at(facts.begin),
            at(facts.end),
            facts.service.as_deref().unwrap_or("no service"),
            facts.category,
            facts.active_s,
            facts.flows,
            facts.bytes_toserver,
            facts.bytes_toclient,
            facts.evidence.as_deref().unwrap_or("none"),
            seen.seq,
        );
        for upload in &facts.uploads {
            let (at, bytes, sure) = (at(upload.at), upload.bytes, upload.confidence);
            _ = writeln!(text, "    probable upload of {bytes} bytes until {at}, {sure} % sure");
        }
        if facts.more_uploads > 0 {
            _ = writeln!(text, "    and {} probable uploads more", facts.more_uploads);
        }
    }
    let uploads: u64 =
        view.sessions.iter().map(|seen| seen.facts.uploads.len() as u64 + seen.facts.more_uploads).sum();
    let active: u64 = view.sessions.iter().map(|seen| seen.facts.active_s).sum();
    _ = writeln!(
        text,
        "{} visits, {active} s active, {uploads} probable uploads",
        view.sessions.len() as u64 + view.more_sessions
    );
    if view.more_sessions > 0 {
        _ = writeln!(text, "{} more sessions are not shown: ask for fewer days", view.more_sessions);
    }
    if view.spoilt > 0 {
        _ = writeln!(text, "{} records are not what was sealed", view.spoilt);
    }
    for gap in &view.gaps {
        let records = gap.records + gap.events;
        _ = writeln!(text, "missing, of whomever: {} ({records}) [record {}]", gap.cause, gap.seq);
    }
    if view.more_gaps > 0 {
        _ = writeln!(text, "and {} losses more", view.more_gaps);
    }
    text
}

/// Reads an identity, unless others may read it too.
fn identity_in(path: &Path) -> Result<HoldersIdentity> {
    let name = path.display();
    let text = file(path)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!("{name} can be read by others (mode {:o}); `chmod 600 {name}`", mode & 0o777);
        return Err(Ended::new(Exit::Invalid, why).into());
    }
    let read = read_identity(&String::from_utf8_lossy(&text));
    Ok(read.map_err(|e| Ended::new(Exit::Invalid, format!("{name}: {e}")))?)
}

fn json_in<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let read = serde_json::from_slice(&file(path)?);
    Ok(read.map_err(|e| Ended::new(Exit::Invalid, format!("{}: {e}", path.display())))?)
}

fn file(path: &Path) -> Result<Vec<u8>> {
    let read = read_bounded(path, MAX_FILE);
    Ok(read.map_err(|e| Ended::new(Exit::Invalid, format!("{} can't be read: {e}", path.display())))?)
}

fn invalid(error: impl std::fmt::Display) -> Ended {
    Ended::new(Exit::Invalid, error.to_string())
}
