//! Huge pages that the kernel has set aside, as a figure to decide and to explain with.

use std::fs;
use std::path::Path;

/// Huge pages of all sizes, in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Set aside.
    pub total_mib: u64,
    /// Of those, not in use.
    pub free_mib: u64,
}

impl HugePages {
    /// What the kernel says now. A kernel without huge pages has zero.
    pub fn read() -> Self {
        Self::read_from(Path::new("/sys/kernel/mm/hugepages"))
    }

    fn read_from(folder: &Path) -> Self {
        let mut sum = Self::default();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(size_kib) = name.to_str().and_then(size_kib) else { continue };
            let pages = |file: &str| -> u64 {
                let text = fs::read_to_string(entry.path().join(file)).unwrap_or_default();
                text.trim().parse().unwrap_or(0)
            };
            // Reserved pages are promised to a mapping that has not touched them yet.
            let free = pages("free_hugepages").saturating_sub(pages("resv_hugepages"));
            sum.total_mib += pages("nr_hugepages").saturating_mul(size_kib) / 1024;
            sum.free_mib += free.saturating_mul(size_kib) / 1024;
        }
        sum
    }
}

/// The size in a folder's name: `hugepages-2048kB`.
fn size_kib(name: &str) -> Option<u64> {
    name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_sizes_and_leaves_out_what_is_promised() {
        let folder = tempfile::tempdir().unwrap();
        for (size, total, free, reserved) in [("2048", "512", "500", "100"), ("1048576", "2", "1", "0")] {
            let of_size = folder.path().join(format!("hugepages-{size}kB"));
            fs::create_dir(&of_size).unwrap();
            fs::write(of_size.join("nr_hugepages"), total).unwrap();
            fs::write(of_size.join("free_hugepages"), free).unwrap();
            fs::write(of_size.join("resv_hugepages"), reserved).unwrap();
        }
        fs::create_dir(folder.path().join("other")).unwrap();
        let expected = HugePages { total_mib: 1024 + 2048, free_mib: 800 + 1024 };
        assert_eq!(HugePages::read_from(folder.path()), expected);
        assert_eq!(HugePages::read_from(Path::new("/nonexistent")), HugePages::default());
    }
}
