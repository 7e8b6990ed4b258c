//! The codecs: which of a description's are ours, with which parameters, and what we offer ourselves.

use remotemedia_shm_schema::Codec;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind,
};
use std::fmt::Write;
use webrtc::error::Result;
use webrtc::peer_connection::MediaEngine;

/// A payload type of a description, as it is read.
#[derive(Debug)]
pub(crate) struct Offered<'a> {
    pub(crate) payload_type: u8,
    /// `<name>/<clock>[/<channels>]`.
    pub(crate) map: &'a str,
    pub(crate) fmtp: &'a str,
    feedback: Vec<&'static str>,
}

/// Feedback that we give and understand.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "transport-cc"];

impl<'a> Offered<'a> {
    pub(crate) fn new(payload_type: u8) -> Self {
        Self { payload_type, map: "", fmtp: "", feedback: Vec::new() }
    }

    pub(crate) fn feedback(&mut self, text: &str) {
        if let Some(known) = FEEDBACK.iter().find(|known| **known == text.trim())
            && !self.feedback.contains(known)
        {
            self.feedback.push(known);
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.fmtp.split(';').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Which codec of ours it is, if its parameters are ones that we can do.
    fn codec(&self) -> Option<Codec> {
        let mut parts = self.map.trim().split('/');
        let (name, clock, channels) = (parts.next()?, parts.next()?, parts.next());
        let is = |codec: Codec, other: &str| {
            name.eq_ignore_ascii_case(other) && clock.parse() == Ok(codec.clock_rate())
        };
        if is(Codec::Opus, "opus") && channels == Some("2") {
            Some(Codec::Opus)
        } else if is(Codec::Vp8, "VP8") {
            Some(Codec::Vp8)
        } else if is(Codec::Vp9, "VP9") {
            matches!(self.parameter("profile-id"), None | Some("0")).then_some(Codec::Vp9)
        } else if is(Codec::H264, "H264") {
            let whole = self.parameter("packetization-mode") == Some("1");
            (whole && self.baseline().is_some()).then_some(Codec::H264)
        } else {
            None
        }
    }

    /// H.264: the level of a baseline or constrained baseline profile, and which of the two.
    fn baseline(&self) -> Option<(&'static str, u8)> {
        let id = self.parameter("profile-level-id")?;
        if id.len() != 6 || !id.is_ascii() {
            return None;
        }
        let level = u8::from_str_radix(id.get(4..6)?, 16).ok()?;
        match id.get(0..4)?.to_ascii_lowercase().as_str() {
            // 42c0 is the same as 42e0: the bit that differs says that it is a subset of Extended as well.
            "42e0" | "42c0" => Some(("42e0", level)),
            "4200" => Some(("4200", level)),
            _ => None,
        }
    }

    /// The parameters that we give the stack, and thus name in our answer.
    fn answered(&self, codec: Codec) -> String {
        match codec {
            Codec::Vp8 => String::new(),
            Codec::Vp9 => "profile-id=0".into(),
            Codec::H264 => {
                let (profile, level) = self.baseline().unwrap_or(("42e0", 0x1f));
                format!(
                    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}{level:02x}"
                )
            }
            Codec::Opus => {
                let stereo = self.parameter("stereo") == Some("1");
                format!("minptime=10;useinbandfec=1{}", if stereo { ";stereo=1" } else { "" })
            }
        }
    }
}

/// A codec that both sides can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    /// The peer's own parameters.
    pub(crate) fmtp: String,
    /// The payload type of its retransmissions.
    pub(crate) rtx: Option<u8>,
    /// Whether the peer takes PLI.
    pub(crate) pli: bool,
    /// Whether the peer takes FIR.
    pub(crate) fir: bool,
    answered: String,
    feedback: Vec<&'static str>,
}

impl Accepted {
    /// Those of `offered` that are of `codecs`, in the order of `payload_types`; each codec's profile once.
    pub(crate) fn choose(
        payload_types: &[u8],
        offered: &[Offered<'_>],
        codecs: &[Codec],
    ) -> Vec<Self> {
        let find = |payload_type: u8| offered.iter().find(|o| o.payload_type == payload_type);
        let mut chosen: Vec<Self> = Vec::new();
        for one in payload_types.iter().filter_map(|payload_type| find(*payload_type)) {
            let Some(codec) = one.codec().filter(|codec| codecs.contains(codec)) else { continue };
            let answered = one.answered(codec);
            let known = |c: &Self| {
                c.payload_type == one.payload_type || (c.codec == codec && c.answered == answered)
            };
            if chosen.iter().any(known) {
                continue;
            }
            let rtx =
                payload_types.iter().filter_map(|payload_type| find(*payload_type)).find(|o| {
                    let rtx = o
                        .map
                        .split('/')
                        .next()
                        .is_some_and(|name| name.eq_ignore_ascii_case("rtx"));
                    rtx && o.parameter("apt").and_then(|apt| apt.parse().ok())
                        == Some(one.payload_type)
                });
            chosen.push(Self {
                codec,
                payload_type: one.payload_type,
                fmtp: one.fmtp.to_owned(),
                rtx: rtx.map(|rtx| rtx.payload_type),
                pli: one.feedback.contains(&"nack pli"),
                fir: one.feedback.contains(&"ccm fir"),
                answered,
                feedback: one.feedback.clone(),
            });
        }
        chosen
    }

    pub(crate) fn render(&self, out: &mut String) {
        let Self { payload_type, codec, .. } = self;
        let (name, _) = names(*codec);
        let channels = if codec.is_audio() { "/2" } else { "" };
        let _ = write!(out, "a=rtpmap:{payload_type} {name}/{}{channels}\r\n", codec.clock_rate());
        if !self.answered.is_empty() {
            let _ = write!(out, "a=fmtp:{payload_type} {}\r\n", self.answered);
        }
        for feedback in &self.feedback {
            let _ = write!(out, "a=rtcp-fb:{payload_type} {feedback}\r\n");
        }
        if let Some(rtx) = self.rtx {
            let _ = write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
        }
    }

    /// As the stack names it.
    pub(crate) fn for_stack(&self) -> RTCRtpCodec {
        capability(self.codec, &self.answered)
    }
}

fn names(codec: Codec) -> (&'static str, &'static str) {
    match codec {
        Codec::Opus => ("opus", "audio/opus"),
        Codec::Vp8 => ("VP8", "video/VP8"),
        Codec::Vp9 => ("VP9", "video/VP9"),
        Codec::H264 => ("H264", "video/H264"),
    }
}

fn capability(codec: Codec, fmtp: &str) -> RTCRtpCodec {
    let feedback: &[&str] = if codec.is_audio() { &["transport-cc"] } else { &FEEDBACK };
    let feedback = feedback.iter().map(|text| {
        let (typ, parameter) = text.split_once(' ').unwrap_or((text, ""));
        RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
    });
    RTCRtpCodec {
        mime_type: names(codec).1.to_owned(),
        clock_rate: codec.clock_rate(),
        channels: if codec.is_audio() { 2 } else { 0 },
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: feedback.collect(),
    }
}

/// The stack's table of `codecs`, in their order. Payload types are those that browsers use, where they agree.
pub(crate) fn media_engine(codecs: &[Codec]) -> Result<MediaEngine> {
    const H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=";
    let mut engine = MediaEngine::default();
    for codec in codecs {
        let variants: Vec<(u8, String)> = match codec {
            Codec::Opus => vec![(111, "minptime=10;useinbandfec=1".into())],
            Codec::Vp8 => vec![(96, String::new())],
            Codec::Vp9 => vec![(98, "profile-id=0".into())],
            Codec::H264 => vec![(102, format!("{H264}42e01f")), (106, format!("{H264}42001f"))],
        };
        for (payload_type, fmtp) in variants {
            let rtp_codec = capability(*codec, &fmtp);
            if codec.is_audio() {
                engine.register_codec(
                    RTCRtpCodecParameters { rtp_codec, payload_type },
                    RtpCodecKind::Audio,
                )?;
                continue;
            }
            engine.register_codec(
                RTCRtpCodecParameters { rtp_codec, payload_type },
                RtpCodecKind::Video,
            )?;
            let rtx = RTCRtpCodec {
                mime_type: "video/rtx".into(),
                clock_rate: 90_000,
                channels: 0,
                sdp_fmtp_line: format!("apt={payload_type}"),
                rtcp_feedback: Vec::new(),
            };
            let rtx = RTCRtpCodecParameters { rtp_codec: rtx, payload_type: payload_type + 1 };
            engine.register_codec(rtx, RtpCodecKind::Video)?;
        }
    }
    Ok(engine)
}
