//! `glassgate case …`: the verbs of those who hold shares of sealed records.

use super::Ask;
use clap::{Args, Subcommand, ValueHint};
use glassgate_policy::case::CaseAct;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Case {
    /// Make an `age` identity that shares are sealed to, or show the recipient of one there is
    ///
    /// The file is as `age-keygen` makes it, readable by its owner alone. What is printed goes into the charter (`recipient` of a
    /// `[[case.holder]]`). Whoever loses it can't open what was sealed to it.
    #[command(after_help = "Example:\n  glassgate case identity hr.age")]
    Identity(Identity),
    /// Ask to see the sealed records of one person
    ///
    /// Writes a request, shows it, and signs it. Another holder must approve it. With --draft nothing is signed: the
    /// request is printed for somebody who signs it on another machine.
    #[command(after_help = "Examples:\n  \
        glassgate case open --subject s.chen --purpose leak --category cloud_storage \\\n    \
        --from 2027-03-01 --to 2027-03-02 --reason suspected_leak --key hr.key --identity hr.age\n  \
        glassgate case open --subject s.chen --purpose leak --category cloud_storage \\\n    \
        --from 2027-03-01 --to 2027-03-02 --reason access_request --draft > case.json")]
    Open(Open),
    /// List cases: how each is, and of which the subject is to be told
    #[command(
        after_help = "Examples:\n  glassgate case list\n  glassgate case list --json | jq '.[] | select(.step == \"open\")'"
    )]
    List(Ask),
    /// Print what a holder needs to say something about a case, for another machine
    #[command(after_help = "Example:\n  glassgate case request 4f1d2a90c3b7 > case.json")]
    Request(Request),
    /// Approve a case that another holder opened
    #[command(
        after_help = "Example:\n  glassgate case approve 4f1d2a90c3b7 --key dpo.key --identity dpo.age"
    )]
    Approve(Say),
    /// Refuse a case: it is over, and nobody sees anything
    #[command(after_help = "Example:\n  glassgate case refuse 4f1d2a90c3b7 --key council.key")]
    Refuse(Say),
    /// Look at what was recorded, once
    ///
    /// Only for those who opened and approved the case. What is shown is sealed to the identity of who looks; with --json
    /// it is printed as it is kept. A second look takes another case.
    #[command(after_help = "Examples:\n  \
        glassgate case show 4f1d2a90c3b7 --key hr.key --identity hr.age\n  \
        glassgate case show 4f1d2a90c3b7 --key hr.key --identity hr.age --json > 4f1d2a90c3b7.json")]
    Show(Say),
    /// Close a case that nobody needs any more
    #[command(after_help = "Example:\n  glassgate case close 4f1d2a90c3b7 --key hr.key")]
    Close(Say),
    /// Print the letter that tells the subject of a case, in English and Chinese
    ///
    /// It has a code with which the subject, and nobody else, is shown on the page under *My device* who asked, who approved, who
    /// looked, when and why. `tell` puts on record that it was handed over.
    #[command(after_help = "Example:\n  glassgate case letter 4f1d2a90c3b7 > letter.txt")]
    Letter(Request),
    /// Put on record that the subject of a case was told
    #[command(after_help = "Example:\n  glassgate case tell 4f1d2a90c3b7 --key hr.key")]
    Tell(Say),
    /// Sign a step on a machine of your own
    ///
    /// Asks no gateway: takes what `glassgate case request`, `glassgate case open --draft` or the page gave out, shows what it is
    /// about, and prints what is to be handed in, by `glassgate case submit` or on the page. ACT is open, approve, refuse, show, close or tell.
    #[command(after_help = "Examples:\n  \
        glassgate case sign open case.json --key hr.key --identity hr.age > said.json\n  \
        glassgate case sign show case.json --key hr.key --identity hr.age > said.json")]
    Sign(Sign),
    /// Hand in what a holder signed on another machine
    ///
    /// Where that is `show`, what is shown is printed sealed, for `glassgate case read`.
    #[command(after_help = "Example:\n  glassgate case submit said.json")]
    Submit(Submit),
    /// Read what a case showed, sealed to this identity
    #[command(after_help = "Example:\n  glassgate case read shown.txt --identity hr.age")]
    Read(Read),
    /// List the keys of sealed records, and how long each has been kept
    #[command(after_help = "Examples:\n  glassgate case keys\n  glassgate case keys --clock-is-right")]
    Keys(Keys),
}

#[derive(Debug, Args)]
pub(crate) struct Identity {
    /// The identity's file; made, if it is not there
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Whom it is about, as the directory calls them
    #[arg(long)]
    pub(crate) subject: String,
    /// The purpose that the records were made for
    #[arg(long)]
    pub(crate) purpose: String,
    /// A category of it; again for more
    #[arg(long = "category", value_name = "CATEGORY", required = true)]
    pub(crate) categories: Vec<String>,
    /// The first day
    #[arg(long, value_name = "DATE")]
    pub(crate) from: jiff::civil::Date,
    /// The last day, which must be over
    #[arg(long, value_name = "DATE")]
    pub(crate) to: jiff::civil::Date,
    /// Why: suspected_leak, security_incident, complaint, legal_claim or access_request
    #[arg(long)]
    pub(crate) reason: String,
    /// For how many days it may be open, 7 at most
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(crate) valid: u8,
    /// Your signing key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "draft")]
    pub(crate) key: Option<PathBuf>,
    /// The identity that your shares are sealed to
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "draft")]
    pub(crate) identity: Option<PathBuf>,
    /// Only write the request, and print it
    #[arg(long, conflicts_with_all = ["key", "identity"])]
    pub(crate) draft: bool,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// The case
    pub(crate) case: String,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Args)]
pub(crate) struct Say {
    /// The case, as `glassgate case list` shows it
    pub(crate) case: String,
    /// Your signing key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,
    /// The identity that your shares are sealed to
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// What you say of the case
    #[arg(value_parser = act)]
    pub(crate) act: CaseAct,
    /// The request, as it was given out
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Your signing key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,
    /// The identity that your shares are sealed to
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: Option<PathBuf>,
}

fn act(text: &str) -> Result<CaseAct, String> {
    let known = || CaseAct::ALL.iter().map(|act| act.as_str()).collect::<Vec<_>>().join(", ");
    CaseAct::from_word(text).ok_or_else(|| format!("write one of {}", known()))
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// What was said
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// What was shown
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The identity that it is sealed to
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Say that the wall clock is right: keys that are over by it are destroyed, and it is on record that you said so
    #[arg(long)]
    pub(crate) clock_is_right: bool,
    #[command(flatten)]
    pub(crate) ask: Ask,
}
