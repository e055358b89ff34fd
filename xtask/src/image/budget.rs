//! What each part may take: `image/budgets.toml`, held by the build; what a day may write, by `image-test`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::ui;

const MIB: f64 = (1 << 20) as f64;

/// MiB by part.
pub struct Budgets(BTreeMap<String, f64>);

impl Budgets {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|n| n as f64));
        let all = table.iter().map(|(name, value)| Some((name.clone(), number(value)?)));
        Ok(Self(all.collect::<Option<_>>().context("budgets are numbers, MiB")?))
    }

    /// Megabytes that a day without traffic may write to the disk.
    pub fn day(&self) -> Result<u64> {
        Ok(*self.0.get("day").context("no budget for `day`")? as u64)
    }

    /// Shows each part beside its budget; an error that names those which are over it.
    pub fn hold(&self, sizes: &[(&str, u64)]) -> Result<()> {
        let mut over = Vec::new();
        for (name, bytes) in sizes {
            let (size, budget) = (*bytes as f64 / MIB, self.0.get(*name).copied());
            let budget = budget.with_context(|| format!("image/budgets.toml has no budget for `{name}`"))?;
            let fine = size <= budget;
            let mark = if fine { ui::green("ok") } else { ui::red("FAILED") };
            ui::line(format_args!("  {mark} {name:<8} {size:6.1} MiB of {budget}"));
            if !fine {
                over.push(format!("{name} has {size:.1} MiB, its budget is {budget}"));
            }
        }
        ensure!(
            over.is_empty(),
            "too large: {}; see what is new in it, or raise image/budgets.toml with a reason",
            over.join("; ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_its_budget_is_named() {
        let budgets = Budgets::parse("root = 2\nboot = 0.5\n").unwrap();
        assert!(budgets.hold(&[("root", 2 << 20), ("boot", 1 << 19)]).is_ok());
        let why = budgets.hold(&[("root", (2 << 20) + 1), ("boot", 1 << 19)]).unwrap_err().to_string();
        assert!(why.contains("root has") && !why.contains("boot has"), "{why}");
        assert!(budgets.hold(&[("initrd", 1)]).is_err());
        assert!(budgets.day().is_err() && Budgets::parse("day = 7").unwrap().day().unwrap() == 7);
        assert!(Budgets::parse("root = \"2\"").is_err());
    }
}
