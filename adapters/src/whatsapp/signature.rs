//! Verifies that a webhook is Meta's: the signature over the raw body, and the verify token of the registration.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::Secret;

/// The header of the signature: `sha256=` and the hex of HMAC-SHA256 of the raw body under the app's secret.
/// <https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads>
pub const HEADER: &str = "x-hub-signature-256";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureCheck {
    Right,
    Missing,
    /// It is of another body or another secret, or no signature at all.
    Wrong,
}

// Over the raw bytes: Meta escapes slashes and non-ASCII characters, so JSON that was parsed and written again has another
// signature. `verify_slice` takes constant time.
pub fn verify(secret: &Secret, header: Option<&[u8]>, body: &[u8]) -> SignatureCheck {
    let Some(header) = header else { return SignatureCheck::Missing };
    let Some(hex) = header.strip_prefix(b"sha256=") else { return SignatureCheck::Wrong };
    let Ok(signature) = hex::decode(hex) else { return SignatureCheck::Wrong };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return SignatureCheck::Wrong;
    };
    mac.update(body);
    match mac.verify_slice(&signature) {
        // Anybody can sign with an empty secret. The start refuses one as well.
        Ok(()) if !secret.is_empty() => SignatureCheck::Right,
        _ => SignatureCheck::Wrong,
    }
}

// Comparing digests takes the same time wherever the words differ, so an attacker cannot guess letter by letter.
pub fn secrets_match(secret: &Secret, given: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    !secret.is_empty() && digest(secret.reveal()) == digest(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of RFC 4231, 4.3 (test case 2).
    const RFC: &str = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn the_vector_of_the_rfc_verifies_and_nothing_else_does() {
        let secret = Secret::new("Jefe");
        let body = b"what do ya want for nothing?";
        let verdict = |header: Option<&str>, body: &[u8]| verify(&secret, header.map(str::as_bytes), body);
        assert_eq!(verdict(Some(RFC), body), SignatureCheck::Right);
        assert_eq!(verdict(Some(RFC), b"what do ya want for nothing!"), SignatureCheck::Wrong);
        assert_eq!(verdict(None, body), SignatureCheck::Missing);
        for header in
            ["", "sha256=", "sha1=5bdc", "sha256=zz", &RFC[..RFC.len() - 2], &RFC.replace("sha256=", "")]
        {
            assert_eq!(verdict(Some(header), body), SignatureCheck::Wrong, "{header}");
        }
        let other = verify(&Secret::new("Jeff"), Some(RFC.as_bytes()), body);
        assert_eq!(other, SignatureCheck::Wrong);
    }

    #[test]
    fn without_a_secret_nothing_is_right() {
        let mac = Hmac::<Sha256>::new_from_slice(b"").unwrap().chain_update(b"x").finalize();
        let header = format!("sha256={}", hex::encode(mac.into_bytes()));
        assert_eq!(verify(&Secret::default(), Some(header.as_bytes()), b"x"), SignatureCheck::Wrong);
        assert!(!secrets_match(&Secret::default(), ""));
    }

    #[test]
    fn the_word_must_be_the_whole_word() {
        let secret = Secret::new("a-long-word");
        assert!(secrets_match(&secret, "a-long-word"));
        assert!(
            !secrets_match(&secret, "a-long-wor")
                && !secrets_match(&secret, "")
                && !secrets_match(&secret, "a-long-word ")
        );
    }
}
