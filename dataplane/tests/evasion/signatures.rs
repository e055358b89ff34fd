//! The signatures of this suite.

use glassgate_policy::compile::{self, compile};
use glassgate_policy::source::Source;
use glassgate_policy::table::SignatureTable;
use std::sync::{Arc, OnceLock};

/// One resolver, so that encrypted DNS has a category.
const SOURCE: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
                      dns.google\tsuffix\tgoogle-dns\ttunnel\tsite\tstrong\tmaintainers\tApache-2.0\t2026-11-21\n";
const SERVICES: &str = "service\tcategory\ttitle\tregion\n\
                        google-dns\ttunnel\tGoogle Public DNS\tUS\n";

pub(crate) fn signatures() -> Arc<SignatureTable> {
    static TABLE: OnceLock<Arc<SignatureTable>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let sources = [("names", SOURCE), ("services", SERVICES)]
            .map(|(path, text)| Source::parse(path, text.as_bytes()).expect(path));
        let compiled = compile(&sources, &compile::Options::default()).expect("a table");
        Arc::new(SignatureTable::from_bytes(&compiled.bytes).expect("a table"))
    });
    table.clone()
}
