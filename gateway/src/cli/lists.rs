//! Arguments of the verbs about lists: signatures of others, read and written.

use crate::config::DEFAULT_PATH;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use glassgate_policy::Category;
use glassgate_policy::exchange::Format;
use glassgate_policy::signature::{Role, Scope, Tier, is_service_key, parse_date};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The format of the list
    #[arg(short, long, value_parser = formats())]
    pub(crate) format: Format,
    /// What the names are for. Folders of UT1 say it themselves, as far as their category is one of ours
    #[arg(short, long, value_parser = categories())]
    pub(crate) category: Option<Category>,
    /// Key of the service that the names belong to; it is declared if the gateway does not come with it. Default: from
    /// the name of the list
    #[arg(short, long, value_parser = service_key)]
    pub(crate) service: Option<String>,
    /// What people call the service, where it is declared. Default: its key
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Where the service is used: country codes, or areas such as `EU`
    #[arg(long, default_value = "world")]
    pub(crate) region: String,
    /// What the names are for within the service
    #[arg(long, default_value = "site", value_parser = roles())]
    pub(crate) role: Role,
    /// How sure the list is; only `strong` acts
    #[arg(long, default_value = "strong", value_parser = tiers())]
    pub(crate) tier: Tier,
    /// Who says so. Default: the path
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// SPDX identifier of the licence of the list
    #[arg(long, default_value = "LicenseRef-unknown")]
    pub(crate) licence: String,
    /// The last day on which the names count, YYYY-MM-DD
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub(crate) expires: Option<jiff::civil::Date>,
    /// What a name covers where the line does not say: `suffix` is the name and all below. Default: `exact` for
    /// hosts, else `suffix`
    #[arg(long, value_parser = scopes())]
    pub(crate) scope: Option<Scope>,
    /// End with exit code 4, and print no signatures, when any line is broken
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the summary, on standard error, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The list: a file; for `ut1` a folder with `domains`, or a folder of such folders
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The format to write
    #[arg(short, long, value_parser = formats())]
    pub(crate) format: Format,
    /// Only these categories
    #[arg(short, long, value_parser = categories())]
    pub(crate) category: Vec<Category>,
    /// Only these services
    #[arg(short, long, value_parser = service_key)]
    pub(crate) service: Vec<String>,
    /// Only entries of these tiers
    #[arg(long, default_value = "strong", value_parser = tiers())]
    pub(crate) tier: Vec<Tier>,
    /// Signature sources: a folder or a file. Default: those that come with the gateway
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
    /// Print the summary, on standard error, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Feeds {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// The name of the subscription
    #[arg(value_name = "LIST")]
    pub(crate) feed: String,
    /// The digest that `feeds` showed, at least its first 12 digits: what is accepted is what was seen
    #[arg(value_name = "DIGEST")]
    pub(crate) digest: String,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.iter().map(|f| f.as_str()))
        .map(|word| Format::from_word(&word).unwrap_or(Format::Plain))
}

fn categories() -> impl TypedValueParser<Value = Category> {
    PossibleValuesParser::new(Category::ALL.iter().skip(1).map(|c| c.as_str()))
        .map(|word| Category::from_word(&word).unwrap_or(Category::Unknown))
}

fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.iter().map(|r| r.as_str()))
        .map(|word| Role::from_word(&word).unwrap_or(Role::Site))
}

fn tiers() -> impl TypedValueParser<Value = Tier> {
    PossibleValuesParser::new(Tier::ALL.iter().map(|t| t.as_str()))
        .map(|word| Tier::from_word(&word).unwrap_or(Tier::Candidate))
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.iter().map(|s| s.as_str()))
        .map(|word| Scope::from_word(&word).unwrap_or(Scope::Exact))
}

fn service_key(text: &str) -> Result<String, &'static str> {
    if is_service_key(text) {
        Ok(text.to_owned())
    } else {
        Err("use lower-case letters, digits and hyphens, at most 48, such as `boss-zhipin`")
    }
}

fn day(text: &str) -> Result<jiff::civil::Date, &'static str> {
    parse_date(text).ok_or("write YYYY-MM-DD")
}
