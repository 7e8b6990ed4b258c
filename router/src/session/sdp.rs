//! Pure: what an answer of ours agreed to, section by section.
//!
//! A sender may use any of the agreed codecs and takes the first one by custom, so the first is wired before its first
//! packet is there; what comes then decides.

use remotemedia_shm_schema::{Codec, Media};

/// One agreed section of audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Sound or picture.
    pub kind: Media,
    /// The first codec in it.
    pub codec: Codec,
    /// Whether the answerer (this router) receives in it.
    pub receives: bool,
}

/// Which kinds of media an offer has sections for; sections with port 0 are not there.
#[must_use]
pub fn kinds(offer: &str) -> Vec<Media> {
    let mut kinds = Vec::new();
    for line in offer.lines() {
        let kind = match line.strip_prefix("m=").map(|rest| rest.split(' ')) {
            Some(mut words) => match (words.next(), words.next()) {
                (Some("audio"), Some(port)) if port != "0" => Media::Audio,
                (Some("video"), Some(port)) if port != "0" => Media::Video,
                _ => continue,
            },
            None => continue,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// The sections of an answer that carry media.
#[must_use]
pub fn sections(answer: &str) -> Vec<Section> {
    let mut all = Vec::new();
    let mut current: Option<(Media, Vec<&str>, Vec<&str>)> = None;
    for line in answer.lines().map(str::trim_end).chain(["m=end 0"]) {
        if let Some(media) = line.strip_prefix("m=") {
            if let Some((kind, payloads, lines)) = current.take() {
                all.extend(section(kind, &payloads, &lines));
            }
            let mut words = media.split(' ');
            let kind = match words.next() {
                Some("audio") => Media::Audio,
                Some("video") => Media::Video,
                _ => continue,
            };
            let port = words.next();
            if port != Some("0") {
                current = Some((kind, words.skip(1).collect(), Vec::new()));
            }
        } else if let Some((_, _, lines)) = &mut current {
            lines.push(line);
        }
    }
    all
}

fn section(kind: Media, payloads: &[&str], lines: &[&str]) -> Option<Section> {
    let codec = payloads.iter().find_map(|payload| {
        lines.iter().find_map(|line| {
            let (number, map) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            (number == *payload).then_some(())?;
            map.split('/').next()?.parse::<Codec>().ok()
        })
    })?;
    let sends_only = lines.iter().any(|line| *line == "a=sendonly" || *line == "a=inactive");
    (Media::of(codec) == kind).then_some(Section { kind, codec, receives: !sends_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        a=sendrecv\r\nm=video 9 UDP/TLS/RTP/SAVPF 99 98\r\na=rtpmap:98 VP8/90000\r\n\
        a=rtpmap:99 H264/90000\r\na=recvonly\r\nm=video 0 UDP/TLS/RTP/SAVPF 98\r\n\
        a=rtpmap:98 VP8/90000\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";

    #[test]
    fn the_first_codec_of_each_live_section_is_what_will_come() {
        assert_eq!(
            sections(ANSWER),
            [
                Section { kind: Media::Audio, codec: Codec::Opus, receives: true },
                Section { kind: Media::Video, codec: Codec::H264, receives: true },
            ]
        );
        assert_eq!(kinds(ANSWER), [Media::Audio, Media::Video]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(m=|a=rtpmap:|audio|video|[ \r\n0-9a-z/:])*") {
            let _ = sections(&text);
            let _ = kinds(&text);
        }
    }
}
