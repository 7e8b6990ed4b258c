//! A first look at a session description: nothing unencrypted passes the hub.
//!
//! Only what decides on that is read. Whether the description can be negotiated is for the connection to say.

use crate::message::MAX_SDP;

/// Why a description is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// For a person.
    pub reason: String,
    /// Where, counted from 1.
    pub line: Option<usize>,
}

/// Refuses a description that is too long, is none, or would let media pass in the clear.
///
/// # Errors
/// Says why, and in which line.
pub fn check(sdp: &str) -> Result<(), Fault> {
    let fault = |reason: String, line| Err(Fault { reason, line });
    if sdp.len() > MAX_SDP {
        return fault(format!("it has {} bytes, {MAX_SDP} are allowed", sdp.len()), None);
    }
    let mut lines = sdp.lines();
    if lines.next().map(str::trim_end) != Some("v=0") {
        return fault("the first line must be `v=0`".into(), Some(1));
    }
    let mut in_session = false;
    let mut anywhere = false;
    // The section under way: its line while it still lacks a fingerprint of its own.
    let mut bare: Option<usize> = None;
    let mut sections = 0_usize;
    let missing = |line| Fault {
        reason: "this media section has no a=fingerprint: media must be encrypted".into(),
        line: Some(line),
    };
    for (number, line) in (2..).zip(lines) {
        let line = line.trim_end();
        if let Some(media) = line.strip_prefix("m=") {
            if let Some(before) = bare.filter(|_| !in_session) {
                return Err(missing(before));
            }
            sections += 1;
            let mut fields = media.split_ascii_whitespace().skip(1);
            let port = fields.next().unwrap_or_default();
            let profile = fields.next().unwrap_or_default();
            if !encrypted(profile) {
                return fault(
                    format!(
                        "the profile {:?} is not DTLS-SRTP; UDP/TLS/RTP/SAVPF is",
                        profile.chars().take(40).collect::<String>()
                    ),
                    Some(number),
                );
            }
            // Port 0 is a rejected section, or one that rides on another's transport (RFC 9143): browsers leave the
            // fingerprint out of both.
            bare = (port != "0").then_some(number);
        } else if line.starts_with("a=crypto:") {
            return fault("SDES keys (a=crypto) are not accepted".into(), Some(number));
        } else if line.starts_with("a=fingerprint:") {
            anywhere = true;
            in_session |= sections == 0;
            bare = None;
        }
    }
    if sections == 0 {
        return fault("it has no media section (m=)".into(), None);
    }
    if let Some(last) = bare.filter(|_| !in_session) {
        return Err(missing(last));
    }
    if anywhere { Ok(()) } else { fault("it has no a=fingerprint".into(), None) }
}

fn encrypted(profile: &str) -> bool {
    // RFC 5764 section 8, RFC 8841 section 4: media and data under DTLS.
    matches!(
        profile,
        "UDP/TLS/RTP/SAVPF"
            | "UDP/TLS/RTP/SAVP"
            | "TCP/TLS/RTP/SAVPF"
            | "TCP/TLS/RTP/SAVP"
            | "TCP/DTLS/RTP/SAVPF"
            | "TCP/DTLS/RTP/SAVP"
            | "UDP/DTLS/SCTP"
            | "TCP/DTLS/SCTP"
            | "DTLS/SCTP"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AA:BB\r\n\
                        m=video 9 UDP/TLS/RTP/SAVPF 96\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";

    #[test]
    fn what_a_browser_offers_passes() {
        assert_eq!(check(GOOD), Ok(()));
        let in_media = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 AA\r\n";
        assert_eq!(check(in_media), Ok(()));
    }

    #[test]
    fn a_description_without_fingerprint_is_refused_with_the_line_of_its_section() {
        let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 AA\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n";
        assert_eq!(check(sdp).expect_err("one section has none").line, Some(4));
        let first = "v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=fingerprint:x y\n";
        assert_eq!(check(first).expect_err("the first has none").line, Some(2));
    }

    #[test]
    fn plain_and_sdes_profiles_are_refused_with_their_line() {
        for profile in ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "", "udp/tls/rtp/savpf"] {
            let sdp = GOOD.replace("UDP/TLS/RTP/SAVPF", profile);
            assert_eq!(check(&sdp).expect_err(profile).line, Some(6), "{profile}");
        }
        let sdes = format!("{GOOD}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n");
        assert_eq!(check(&sdes).expect_err("SDES").line, Some(8));
    }

    #[test]
    fn a_rejected_section_needs_no_fingerprint_but_a_description_of_such_alone_is_refused() {
        let sdp = format!("{GOOD}m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n")
            .replace("a=fingerprint:sha-256 AA:BB\r\n", "")
            .replace("SAVPF 96\r\nm=app", "SAVPF 96\r\na=fingerprint:sha-256 AA\r\nm=app")
            .replace("m=application 9", "m=application 0");
        assert_eq!(check(&sdp), Ok(()));
        assert!(check("v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\n").is_err());
    }

    #[test]
    fn what_is_no_description_is_refused() {
        assert_eq!(check("").expect_err("empty").line, Some(1));
        assert_eq!(check("hello").expect_err("a word").line, Some(1));
        assert!(check("v=0\r\ns=-\r\n").is_err(), "no media section");
        assert!(check(&format!("{GOOD}{}", "a".repeat(MAX_SDP))).is_err(), "too long");
    }
}
