//! What to do next, for those who have no key: "the same key" would tell them nothing.

/// The end of a detail for one who has a key, and for one who has none.
const NEXT: [(&str, &str); 2] = [
    ("try again with the same key.", "send it again."),
    (" Ask again with the same key to learn how it ended.", ""),
];

/// The same detail without a word of keys.
pub(super) fn keyless(detail: &str) -> String {
    let ends = |(end, instead): &(&str, &str)| Some(detail.strip_suffix(end)?.to_owned() + instead);
    NEXT.iter().find_map(ends).unwrap_or_else(|| detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::verdict::failed;
    use super::*;
    use crate::logic::fault::Fault;

    #[test]
    fn who_has_no_key_is_told_of_none() {
        for fault in [
            Fault::Conflict,
            Fault::WalletHeld,
            Fault::busy(),
            Fault::Draining,
            Fault::Unavailable,
            Fault::Internal(String::new()),
        ] {
            for instead in ["", "Look first."] {
                let said = failed(&fault).without_key(instead).document(true, "");
                let read = failed(&fault).document(false, "");
                for text in [said, read].map(|document| String::from_utf8(document).unwrap()) {
                    assert!(!text.contains("same key"), "{fault:?}: {text}");
                }
            }
            let keyed = String::from_utf8(failed(&fault).document(true, "")).unwrap();
            assert!(keyed.contains("same key"), "{keyed}");
        }
        assert_eq!(keyless("No sale has this id."), "No sale has this id.");
    }
}
