//! Names that never count, and lists that are subscribed to.

use super::schema::{Filled, Setting, subscription};
use super::{Check, PackFile};
use crate::feeds::Subscription;
use glassgate_policy::Name;
use glassgate_policy::category::Category;
use glassgate_policy::diagnostic::known_words;
use glassgate_policy::exchange::Format;
use glassgate_policy::pack::PublicKey;
use glassgate_policy::signature::{Scope, is_service_key};

/// The most names that are excluded.
const MAX_EXCLUDED: usize = 10_000;
/// The most lists that are subscribed to.
const MAX_SUBSCRIPTIONS: usize = 100;

impl Check<'_> {
    pub(super) fn exclude(&mut self, setting: &Setting<Vec<String>>) -> Option<Vec<String>> {
        let names = &setting.value;
        if names.len() > MAX_EXCLUDED {
            let message = format!("{} names: at most {MAX_EXCLUDED} are excluded", names.len());
            self.fault(setting, "too-many", message);
            return None;
        }
        let mut all = Vec::with_capacity(names.len());
        for written in names {
            match Name::from_wire(written.as_bytes()) {
                Ok(name) if name.as_str().contains('.') => all.push(name.as_str().to_owned()),
                Ok(name) => {
                    let message = format!("`{name}` would exclude a whole top-level domain");
                    self.fault(setting, "too-wide", message).help("name the domain, such as `example.com`");
                    return None;
                }
                Err(error) => {
                    self.fault(setting, "name", format!("`{written}` is no host name: {error}"))
                        .help("write host names only, without wildcards; beyond ASCII in their `xn--` form");
                    return None;
                }
            }
        }
        Some(all)
    }

    pub(super) fn pack(&mut self, raw: &Filled) -> Option<Option<PackFile>> {
        let signatures = &raw.signatures;
        let path = self.path_or_none(&signatures.pack)?;
        for key in &signatures.trusted_keys.value {
            if PublicKey::from_text(key).is_none() {
                self.fault(&signatures.trusted_keys, "key", format!("`{key}` is no public key"))
                    .help("write `ed25519:` and 64 hexadecimal digits, as `glassgate pack key` prints it");
                return None;
            }
        }
        let Some(path) = path else { return Some(None) };
        if signatures.trusted_keys.value.is_empty() {
            self.fault(&signatures.pack, "no-key", "a pack needs a trusted key")
                .help("name the public key of its publisher in `trusted_keys`");
            return None;
        }
        let beside = [
            (&signatures.path.span, "path", !signatures.path.value.is_empty()),
            (&signatures.exclude.span, "exclude", !signatures.exclude.value.is_empty()),
            (
                &raw.subscription.first().and_then(|s| s.all.span.clone()),
                "[[subscription]]",
                !raw.subscription.is_empty(),
            ),
        ];
        if let Some((span, what, _)) = beside.into_iter().find(|(_, _, set)| *set) {
            let at = Setting { value: (), span: span.clone() };
            self.fault(&at, "beside-pack", format!("`{what}` has no effect beside a pack"))
                .help("a pack holds them compiled: take it out here, and build the pack from a configuration that has it");
            return None;
        }
        let (trusted, floor) = (signatures.trusted_keys.value.clone(), signatures.pack_floor.value.into());
        Some(Some(PackFile { path, trusted, floor }))
    }

    pub(super) fn subscriptions(&mut self, raw: &Filled) -> Option<Vec<Subscription>> {
        let all = &raw.subscription;
        let mut good = Vec::new();
        for (i, table) in all.iter().enumerate() {
            if i == MAX_SUBSCRIPTIONS {
                self.fault(&table.all, "too-many", format!("more than {MAX_SUBSCRIPTIONS} subscriptions"));
                break;
            }
            if all.iter().take(i).any(|earlier| earlier.name.value == table.name.value) {
                let message = format!("there is a subscription `{}` already", table.name.value);
                self.fault(&table.name, "name-twice", message);
                continue;
            }
            good.extend(self.subscription(table));
        }
        (good.len() == all.len()).then_some(good)
    }

    fn subscription(&mut self, table: &subscription) -> Option<Subscription> {
        let required = [
            ("name", &table.name),
            ("path", &table.path),
            ("format", &table.format),
            ("category", &table.category),
            ("licence", &table.licence),
        ];
        let mut complete = true;
        for (key, setting) in required {
            if setting.value.trim().is_empty() {
                let message = format!("a subscription needs `{key}`");
                match setting.span {
                    Some(_) => self.fault(setting, "missing", message),
                    None => self.fault(&table.all, "missing", message),
                }
                .help("`glassgate config` shows what each key means");
                complete = false;
            }
        }
        if !complete {
            return None;
        }
        let name = &table.name.value;
        if !is_service_key(name) {
            self.fault(&table.name, "name", format!("`{name}` is no name of a subscription"))
                .help("use lower-case letters, digits and hyphens, at most 48");
            return None;
        }
        let format = self.word(&table.format, "format", Format::ALL, |f| f.as_str());
        let category = self.word(&table.category, "category", Category::ALL, |c| c.as_str());
        let scope = if table.scope.value.is_empty() {
            format.map(|format| format.scope())
        } else {
            self.word(&table.scope, "scope", Scope::ALL, |s| s.as_str())
        };
        let first = self.word(&table.first, "first", &["hold", "accept"], |word| word);
        let path = self.path(&table.path);
        let or = |text: &str, other: &str| {
            let text: String = text.trim().chars().filter(|c| !c.is_control()).take(120).collect();
            if text.is_empty() { other.to_owned() } else { text }
        };
        Some(Subscription {
            title: or(&table.title.value, name),
            source: or(&table.source.value, &or(&table.path.value, name)),
            licence: or(&table.licence.value, "-"),
            format: format? as u8,
            scope: scope? as u8,
            category: category? as u8,
            trust_first: first? == "accept",
            block: table.block.value,
            path: path?,
            name: name.clone(),
        })
    }

    fn word<T: Copy>(
        &mut self,
        setting: &Setting<String>,
        what: &str,
        all: &[T],
        show: impl Fn(&T) -> &'static str,
    ) -> Option<T> {
        let found = all.iter().find(|value| show(value) == setting.value).copied();
        if found.is_none() {
            let help = known_words(&setting.value, all.iter().map(&show));
            self.fault(setting, "unknown-word", format!("there is no {what} `{}`", setting.value)).help(help);
        }
        found
    }
}
