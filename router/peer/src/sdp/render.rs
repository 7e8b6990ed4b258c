//! The text that the stack gets, written from what was checked.

use super::{Description, Section, What};
use crate::codecs::Accepted;
use std::fmt::Write;

impl Description {
    /// The description as the stack shall see it. Track ids are the sections' ids: unique, whatever the peer wrote.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        out.push_str("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n");
        let bundle: Vec<&str> = self
            .sections
            .iter()
            .filter(|s| !s.rejected && (self.bundle.is_empty() || self.bundle.contains(&s.mid)))
            .map(|s| s.mid.as_str())
            .collect();
        // Without a group each section would be a transport of its own, which we refuse; a lone one is its own group.
        line(&mut out, format_args!("a=group:BUNDLE {}", bundle.join(" ")));
        line(&mut out, format_args!("a=fingerprint:{}", self.fingerprint));
        if self.ice_lite {
            out.push_str("a=ice-lite\r\n");
        }
        if self.mixed_extensions {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        if self.trickle {
            out.push_str("a=ice-options:trickle\r\n");
        }
        for (index, section) in self.sections.iter().enumerate() {
            self.section_into(&mut out, section, index == 0);
        }
        out
    }

    fn section_into(&self, out: &mut String, section: &Section, first: bool) {
        let port = if section.rejected { 0 } else { 9 };
        match section.what {
            What::Data => {
                line(out, format_args!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"))
            }
            What::Audio | What::Video => {
                let kind = if section.what == What::Audio { "audio" } else { "video" };
                let mut types = String::new();
                for Accepted { payload_type, rtx, .. } in &section.accepted {
                    let _ = write!(types, " {payload_type}");
                    if let Some(rtx) = rtx {
                        let _ = write!(types, " {rtx}");
                    }
                }
                if types.is_empty() {
                    types.push_str(" 0");
                }
                line(out, format_args!("m={kind} {port} UDP/TLS/RTP/SAVPF{types}"));
            }
        }
        out.push_str("c=IN IP4 0.0.0.0\r\n");
        line(out, format_args!("a=mid:{}", section.mid));
        line(out, format_args!("a=ice-ufrag:{}\r\na=ice-pwd:{}", self.ufrag, self.pwd));
        if let Some(setup) = &self.setup {
            line(out, format_args!("a=setup:{setup}"));
        }
        if first {
            for candidate in &self.candidates {
                line(out, format_args!("a=candidate:{candidate}"));
            }
        }
        if section.what == What::Data {
            out.push_str("a=sctp-port:5000\r\na=max-message-size:65536\r\n");
            return;
        }
        let direction = if section.rejected { "inactive" } else { section.direction.name() };
        line(out, format_args!("a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize"));
        for (id, uri) in &section.extensions {
            line(out, format_args!("a=extmap:{id} {uri}"));
        }
        for accepted in &section.accepted {
            accepted.render(out);
        }
        if section.direction.sends() && !section.rejected {
            source(out, section);
        }
    }
}

/// Whose packets are the section's. One without an SSRC and without layers gets no track: the stack would fail the
/// whole call for it, since it cannot tell its packets from another section's.
fn source(out: &mut String, section: &Section) {
    if let Some(rid) = &section.rid {
        line(out, format_args!("a=msid:{} {}", section.stream, section.mid));
        line(out, format_args!("a=rid:{rid} send\r\na=simulcast:send {rid}"));
    } else if let Some(ssrc) = section.ssrc {
        line(out, format_args!("a=msid:{} {}", section.stream, section.mid));
        if let Some(rtx) = section.rtx_ssrc {
            line(out, format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
        }
        line(out, format_args!("a=ssrc:{ssrc} cname:peer"));
        if let Some(rtx) = section.rtx_ssrc {
            line(out, format_args!("a=ssrc:{rtx} cname:peer"));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = write!(out, "{text}\r\n");
}

/// Our answer, with those sections refused (port 0) for which the offer named no codec of ours: the stack would
/// name codecs there that were never offered.
pub(crate) fn reject_unusable(answer: &str, offer: &Description) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut sections = offer.sections.iter();
    let mut skipping = false;
    for text in answer.split_inclusive('\n') {
        if text.starts_with("m=") {
            let section = sections.next();
            skipping = section
                .is_some_and(|s| s.rejected || (s.what != What::Data && s.accepted.is_empty()));
            if let (true, Some(section)) = (skipping, section) {
                let head = match section.what {
                    What::Audio => "m=audio 0 UDP/TLS/RTP/SAVPF 0",
                    What::Video => "m=video 0 UDP/TLS/RTP/SAVPF 0",
                    What::Data => "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
                };
                line(
                    &mut out,
                    format_args!(
                        "{head}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\na=inactive",
                        section.mid
                    ),
                );
            }
        }
        if !skipping {
            out.push_str(text);
        }
    }
    out
}
