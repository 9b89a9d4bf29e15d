//! Names of captures and runs: they sort by the moment they tell.

use jiff::Timestamp;

/// `YYYYMMDD-HHMMSS-xxxx`, a DNS label. The last four digits say where in the second it was, so that of two in one second
/// `latest` is the later one. A time of whole seconds, as backups of others tell it, has them from now: one backup may be
/// brought in twice.
pub(crate) fn name(at: Timestamp) -> String {
    let nanoseconds = match at.subsec_nanosecond() {
        0 => Timestamp::now().subsec_nanosecond(),
        some => some,
    };
    let part = i64::from(nanoseconds) * 0x1_0000 / 1_000_000_000;
    format!("{}-{part:04x}", at.strftime("%Y%m%d-%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_also_within_a_second() {
        let name = |time: &str| name(time.parse().unwrap());
        assert_eq!(name("2026-11-22T16:12:28.5Z"), "20261122-161228-8000");
        assert_eq!(
            name("2026-11-22T16:12:28.999999999Z"),
            "20261122-161228-ffff"
        );
    }

    #[test]
    fn a_backup_that_is_brought_in_twice_has_two_names() {
        let taken: Timestamp = "2026-11-22T16:12:28Z".parse().unwrap();
        let first = name(taken);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_ne!(name(taken), first);
        assert!(first.starts_with("20261122-161228-"));
    }
}
