//! `glassgate pack …`: compiled signatures as one signed file.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Pack {
    /// Make a key pair to sign packs with
    ///
    /// Writes the secret key to a file that only its owner may read, and prints the public key, which gateways
    /// trust by `signatures.trusted_keys`.
    #[command(after_help = "Example:\n  glassgate pack key publisher.key")]
    Key {
        /// Where the secret key goes; must not be there yet
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Compile signatures into a pack
    ///
    /// From a configuration it takes sources, subscribed lists (the versions in use) and excluded names; a pack holds all of
    /// them, compiled.
    #[command(after_help = "Examples:\n  \
        glassgate pack build --signatures policy/signatures --key publisher.key --serial 7 site.pack\n  \
        glassgate pack build --config glassgate.toml --key publisher.key site.pack")]
    Build(Build),
    /// Sign a pack, in place of whoever signed it before
    #[command(after_help = "Example:\n  glassgate pack sign --key publisher.key site.pack")]
    Sign {
        /// The secret key, as `pack key` made it
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        /// The pack
        #[arg(value_name = "PACK", value_hint = ValueHint::FilePath)]
        pack: PathBuf,
    },
    /// Check a pack to the last byte, and who signed it
    #[command(after_help = "Examples:\n  \
        glassgate pack verify --trust ed25519:8a88… site.pack\n  \
        glassgate pack verify --config glassgate.toml site.pack")]
    Verify(Verify),
    /// Show what a pack says about itself, whoever signed it
    #[command(after_help = "Example:\n  glassgate pack show site.pack")]
    Show {
        /// The pack
        #[arg(value_name = "PACK", value_hint = ValueHint::FilePath)]
        pack: PathBuf,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Take sources, subscribed lists and excluded names from this configuration
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Signature sources: a folder or a file. Default: those of the configuration, else those that come with the gateway
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
    /// Sign it with this secret key
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,
    /// Its number; a gateway can refuse numbers below one. Default: seconds since 1970
    #[arg(long, value_name = "N")]
    pub(crate) serial: Option<u64>,
    /// Who makes it, in words: at most 48 bytes
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) publisher: String,
    /// Where the pack goes; a file that is there is replaced whole
    #[arg(value_name = "PACK", value_hint = ValueHint::FilePath)]
    pub(crate) pack: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A public key that is trusted
    #[arg(short, long, value_name = "KEY")]
    pub(crate) trust: Vec<String>,
    /// Trust the keys of this configuration, and refuse serials below its floor
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The pack
    #[arg(value_name = "PACK", value_hint = ValueHint::FilePath)]
    pub(crate) pack: PathBuf,
}
