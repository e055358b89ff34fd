//! `glassgate account …`: who may come to the page.

use super::Ask;
use crate::access::Role;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Add an account, and print a secret to hand over
    ///
    /// The person opens /join on the page with it, within a day, and chooses a password; nobody else ever knows that. With --program it is
    /// for a program, which reads with the token that is printed, and changes nothing.
    #[command(after_help = "Examples:\n  \
        glassgate account add li.wei --role engineer\n  \
        glassgate account add prometheus --role operator --program --json | jq -r .secret")]
    Add(Add),
    /// List accounts
    #[command(
        after_help = "Examples:\n  glassgate account list\n  glassgate account list --json | jq '.[] | select(.state == \"invited\")'"
    )]
    List(Ask),
    /// Void what an account comes in with, and print a secret for a new password
    ///
    /// For whoever forgot the password or lost the phone. They are logged out.
    #[command(after_help = "Example:\n  glassgate account reset li.wei")]
    Reset(Named),
    /// Keep an account out, and end its sessions at once
    #[command(after_help = "Example:\n  glassgate account disable li.wei")]
    Disable(Named),
    /// Let an account in again
    #[command(after_help = "Example:\n  glassgate account enable li.wei")]
    Enable(Named),
    /// Remove an account, and end its sessions at once
    #[command(after_help = "Example:\n  glassgate account remove li.wei")]
    Remove(Named),
    /// Forget what was guessed at an account
    #[command(after_help = "Example:\n  glassgate account unlock li.wei")]
    Unlock(Named),
    /// Print a new secret to make the first account with
    ///
    /// While there is no account: /join on the page takes it, once, within 30 minutes. The one before is void.
    #[command(after_help = "Example:\n  glassgate account first-secret")]
    FirstSecret(Ask),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name: 2 to 32 of a-z, 0-9, `.`, `-`, `_`, a letter first
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it may see
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Role,
    /// It is for a program, as an operator or an auditor
    #[arg(long)]
    pub(crate) program: bool,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) ask: Ask,
}
