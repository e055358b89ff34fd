//! The categories a service can belong to.
//!
//! Closed and coded, because the verdict matrix is indexed by them and records carry their codes. A code is
//! never given to another category.

use crate::vocab::coded;

coded! {
    /// What a service is for.
    pub enum Category {
        /// In no list.
        Unknown = 0 => "unknown",
        /// Job sites and apps, seen from the job seeker's side.
        Recruitment = 1 => "recruitment",
        /// Applicant tracking systems and career portals of employers.
        RecruitmentAts = 2 => "recruitment_ats",
        /// The recruiter's side of job sites: staff at work, never counted as job search.
        RecruiterSide = 3 => "recruiter_side",
        /// Sites that are a job site and something else (social network, classifieds): never counted as job search.
        DualUse = 4 => "dual_use",
        /// Short video.
        ShortVideo = 5 => "short_video",
        /// Film, series, live video.
        Video = 6 => "video",
        /// Music and other audio.
        Music = 7 => "music",
        /// Shops and marketplaces.
        Shopping = 8 => "shopping",
        /// Food delivery.
        FoodDelivery = 9 => "food_delivery",
        /// Games and where they are downloaded.
        Games = 10 => "games",
        /// Social networks and forums.
        Social = 11 => "social",
        /// Messengers.
        Messaging = 12 => "messaging",
        /// News.
        News = 13 => "news",
        /// Storage in the cloud.
        CloudStorage = 14 => "cloud_storage",
        /// Sending files to others.
        FileTransfer = 15 => "file_transfer",
        /// What hides the name: VPN, DoH, relays, anonymizers.
        Tunnel = 16 => "tunnel",
        /// Malware.
        Malware = 17 => "malware",
        /// Phishing.
        Phishing = 18 => "phishing",
        /// Advertising and tracking.
        Ads = 19 => "ads",
        /// Tools of work: mail, office, code, video meetings.
        Work = 20 => "work",
        /// Infrastructure that says nothing about its use: CDN, time, updates, certificates.
        Infrastructure = 21 => "infrastructure",
        /// Protected: banks, securities, insurance.
        ProtectedBank = 32 => "protected_bank",
        /// Protected: health.
        ProtectedHealth = 33 => "protected_health",
        /// Protected: unions and works councils.
        ProtectedUnion = 34 => "protected_union",
        /// Protected: lawyers, courts, advice.
        ProtectedLawyer = 35 => "protected_lawyer",
        /// Protected: faith.
        ProtectedFaith = 36 => "protected_faith",
        /// Protected: sexual life.
        ProtectedSexual = 37 => "protected_sexual",
    }
}

impl Category {
    /// One more than the greatest code: the width of an array indexed by category.
    pub const SLOTS: usize = 64;

    /// Categories for which no purpose but `security` may observe anything, and that have no record type.
    pub const fn is_protected(self) -> bool {
        self as u8 >= 32
    }

    /// Categories whose use says something about a person: they need a name that was said in the flow.
    pub const fn is_about_people(self) -> bool {
        !matches!(
            self,
            Self::Unknown
                | Self::Infrastructure
                | Self::Tunnel
                | Self::Malware
                | Self::Phishing
                | Self::Ads
                | Self::Work
        )
    }
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const _: () = {
    let mut i = 0;
    while i < Category::ALL.len() {
        assert!((Category::ALL[i] as usize) < Category::SLOTS);
        i += 1;
    }
};
