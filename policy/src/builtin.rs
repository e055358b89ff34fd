//! The signatures that come with the gateway: the files of `policy/signatures/`, compiled in as text.

use crate::compile::{KeyChoice, Options, compile};
use crate::diagnostic::Diagnostics;
use crate::source::Source;
use crate::table::SignatureTable;

macro_rules! files {
    ($($file:literal),+ $(,)?) => {
        /// Path and text of every file.
        pub const FILES: &[(&str, &str)] = &[
            $((concat!("signatures/", $file), include_str!(concat!("../signatures/", $file)))),+
        ];
    };
}

files![
    "services.tsv",
    "recruitment.tsv",
    "recruitment_ats.tsv",
    "recruiter_side.tsv",
    "dual_use.tsv",
    "short_video.tsv",
    "video.tsv",
    "music.tsv",
    "shopping.tsv",
    "food_delivery.tsv",
    "games.tsv",
    "social.tsv",
    "messaging.tsv",
    "news.tsv",
    "cloud_storage.tsv",
    "file_transfer.tsv",
    "tunnel.tsv",
    "ads.tsv",
    "clues.tsv",
    "work.tsv",
    "infrastructure.tsv",
    "protected.tsv",
];

/// Reads the files. A test holds that they have no faults.
pub fn sources() -> Result<Vec<Source>, Diagnostics> {
    FILES.iter().map(|(path, text)| Source::parse(path, text.as_bytes())).collect()
}

/// Compiles the files with default options and a key from their content: equal builds have equal tables. Takes about
/// two milliseconds.
pub fn table() -> Result<SignatureTable, Diagnostics> {
    let options = Options { key: KeyChoice::FromContent, ..Options::default() };
    let compiled = compile(&sources()?, &options)?;
    SignatureTable::from_bytes(&compiled.bytes).map_err(|error| {
        crate::diagnostic::Diagnostic::file("signatures", "bad-table", error.to_string()).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Category;
    use crate::name::Name;
    use crate::signature::Role;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("signatures");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .filter(|f| f.ends_with(".tsv"))
            .map(|f| format!("signatures/{f}"))
            .collect();
        assert_eq!(there, FILES.iter().map(|(path, _)| (*path).to_owned()).collect());
    }

    #[test]
    fn no_faults_and_no_warnings() {
        let sources = sources().unwrap_or_else(|e| panic!("{e}"));
        let compiled = compile(&sources, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
        assert!(compiled.warnings.is_empty(), "{}", compiled.warnings);
        assert_eq!(compiled.report.covered, 0);
    }

    #[test]
    fn equal_builds_have_equal_tables() {
        assert_eq!(table().unwrap().hash(), table().unwrap().hash());
    }

    #[test]
    fn covers_what_it_promises() {
        let table = table().unwrap();
        let count = |categories: &[Category], region: &str| {
            table
                .services()
                .filter(|(_, s)| {
                    categories.contains(&s.category) && (region.is_empty() || s.region == region)
                })
                .count()
        };
        use Category::*;
        let job = [Recruitment, RecruitmentAts, RecruiterSide, DualUse];
        assert!(count(&job, "") >= 250 && count(&job, "CN") >= 50);
        for (category, least) in [
            (ShortVideo, 15),
            (Video, 50),
            (Music, 40),
            (Shopping, 100),
            (FoodDelivery, 40),
            (Games, 60),
            (Social, 40),
            (Messaging, 20),
            (CloudStorage, 30),
            (FileTransfer, 30),
            (Tunnel, 60),
            (Work, 50),
        ] {
            assert!(count(&[category], "") >= least, "{category}");
        }
        for category in Category::ALL.iter().filter(|c| c.is_protected()) {
            assert!(count(&[*category], "") >= 4, "{category}");
        }
        assert_eq!(count(&[Malware, Phishing], ""), 0, "fed by subscription only");
    }

    #[test]
    fn answers_for_well_known_names() {
        let table = table().unwrap();
        for (name, key, category, role) in [
            ("www.zhipin.com", "boss-zhipin", Category::Recruitment, Role::Site),
            ("file.liepin.com", "liepin", Category::Recruitment, Role::Upload),
            ("smartapply.indeed.com", "indeed", Category::Recruitment, Role::Upload),
            ("rd6.zhaopin.com", "zhaopin-recruiter", Category::RecruiterSide, Role::Recruiter),
            ("api-lpt.liepin.com", "liepin-recruiter", Category::RecruiterSide, Role::Recruiter),
            ("hire.lever.co", "lever-recruiter", Category::RecruiterSide, Role::Recruiter),
            ("acme.wd3.myworkdayjobs.com", "workday-jobs", Category::RecruitmentAts, Role::Ats),
            ("jobs.feishu.cn", "feishu-hire", Category::RecruitmentAts, Role::Ats),
            ("acme.feishu.cn", "feishu", Category::Work, Role::Site),
            ("www.linkedin.com", "linkedin", Category::DualUse, Role::Site),
            ("maimai.cn", "maimai", Category::DualUse, Role::Site),
            ("sh.58.com", "58", Category::DualUse, Role::Site),
            ("v16m.tiktokcdn.com", "tiktok", Category::ShortVideo, Role::Site),
            ("music.youtube.com", "youtube-music", Category::Music, Role::Site),
            ("rr3---sn-4g5e6nsk.googlevideo.com", "youtube", Category::Video, Role::Site),
            ("eu-west-1.console.aws.amazon.com", "aws-console", Category::Work, Role::Site),
            ("www.amazon.com", "amazon", Category::Shopping, Role::Site),
            ("health.jd.com", "health-cn", Category::ProtectedHealth, Role::Site),
            ("mask.icloud.com", "icloud-private-relay", Category::Tunnel, Role::Site),
            ("work.weixin.qq.com", "wecom", Category::Work, Role::Site),
            ("pay.weixin.qq.com", "payment-cn", Category::ProtectedBank, Role::Site),
            ("c.pcs.baidu.com", "baidu-netdisk", Category::CloudStorage, Role::Upload),
        ] {
            let found = table.lookup(&Name::from_wire(name.as_bytes()).unwrap()).expect(name);
            let service = table.service(found.service).unwrap();
            let entry = table.entry(found.entry).unwrap();
            assert_eq!((service.name, found.category, entry.role), (key, category, role), "{name}");
        }
        for name in
            ["example.com", "qq.com", "163.com", "google.com", "com", "com.cn", "zhipin.com.evil.example"]
        {
            assert_eq!(table.lookup(&Name::from_wire(name.as_bytes()).unwrap()), None, "{name}");
        }
    }

    /// Dual-use sites, recruiters and protected names are never in the categories of job search.
    #[test]
    fn hosts_that_must_not_count_as_job_search() {
        let table = table().unwrap();
        for name in [
            "linkedin.com",
            "maimai.cn",
            "xing.com",
            "teamblind.com",
            "58.com",
            "ganji.com",
            "subito.it",
            "avito.ru",
            "finn.no",
            "trademe.co.nz",
            "nav.no",
            "arbeitsagentur.de",
            "nowcoder.com",
            "leetcode.cn",
            "hackerrank.com",
            "acme.fa.us2.oraclecloud.com",
            "acme.csod.com",
            "acme.bamboohr.com",
            "dayforcehcm.com",
            "successfactors.com",
            "darwinbox.com",
            "keka.com",
            "upwork.com",
            "fiverr.com",
            "ehire.51job.com",
            "lpt.liepin.com",
            "app.greenhouse.io",
            "employers.indeed.com",
            "talent.seek.com.au",
        ] {
            let found = table.lookup(&Name::from_wire(name.as_bytes()).unwrap()).expect(name);
            assert!(matches!(found.category, Category::DualUse | Category::RecruiterSide), "{name}");
        }
    }
}
