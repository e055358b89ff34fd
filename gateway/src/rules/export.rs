//! `glassgate rules export`: signatures as a list for other tools.

use crate::cli::lists::Export;
use crate::exit::{Ended, Exit};
use crate::{print, sources};
use anyhow::Result;
use glassgate_policy::exchange;
use glassgate_policy::signature::Meta;
use glassgate_policy::source::Source;

/// Exports what the arguments name.
pub(super) fn run(args: &Export) -> Result<Exit> {
    let (sources, _) = sources::read(args.signatures.as_deref())
        .map_err(|faults| Ended::new(Exit::Invalid, format!("signatures are wrong\n{faults}")))?;
    let mut out = String::new();
    let counts = exchange::export(args.format, wanted(args, &sources), &mut out);
    print(&out)?;
    if args.json {
        eprintln!("{}", serde_json::to_string(&counts)?);
    } else {
        let format = args.format;
        eprintln!("{} names written as {format}", counts.written);
        if counts.narrowed > 0 {
            eprintln!("{} of them lost what is below the name: {format} can't say it", counts.narrowed);
        }
        if counts.left_out > 0 {
            eprintln!(
                "{} left out: they stand for the name alone, which {format} can't say",
                counts.left_out
            );
        }
    }
    Ok(if counts.written == 0 { Exit::Damaged } else { Exit::Done })
}

fn wanted<'a>(
    args: &'a Export,
    sources: &'a [Source],
) -> impl Iterator<Item = (&'a str, glassgate_policy::signature::Scope, &'a str)> {
    let wanted = |meta: &Meta| {
        args.tier.contains(&meta.tier)
            && (args.category.is_empty() || args.category.contains(&meta.category))
            && (args.service.is_empty() || args.service.contains(&meta.service))
    };
    sources.iter().flat_map(move |source| {
        source.entries().iter().filter_map(move |entry| {
            let meta = source.metas().get(entry.meta as usize).filter(|meta| wanted(meta))?;
            Some((source.name(entry), entry.scope, meta.note.as_str()))
        })
    })
}
