//! What a listener hears of sound that went through Opus.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod scene;

use remotemedia_codec_worker::sound::{FRAMES, MAX_PACKET, inspect};
use remotemedia_codec_worker::{OpusDecoder, OpusEncoder};
use remotemedia_shm_schema::control::AudioEncode;
use scene::{audio, snr, voice};

/// Encodes `seconds` of voice in blocks of `samples`, and returns the packets and the encoder's look-ahead.
fn packets(settings: &AudioEncode, samples: usize, count: usize) -> (Vec<Vec<u8>>, usize) {
    let mut encoder = OpusEncoder::new(settings).unwrap();
    let packets = (0..count)
        .map(|number| {
            let block = voice(settings.channels.into(), number * samples, samples);
            let mut packet = vec![0; MAX_PACKET];
            let len = encoder.encode(&block, &mut packet).unwrap();
            packet.truncate(len);
            packet
        })
        .collect();
    (packets, encoder.look_ahead().unwrap() as usize)
}

#[test]
fn every_frame_length_in_mono_and_stereo_comes_back_as_itself() {
    for channels in [1u8, 2] {
        let wide = usize::from(channels);
        for samples in FRAMES {
            let settings = AudioEncode { bitrate: 128_000, ..audio(channels) };
            let count = 48_000 / samples;
            let (packets, delay) = packets(&settings, samples, count);
            let mut decoder = OpusDecoder::new(channels).unwrap();
            let mut heard = vec![];
            for packet in &packets {
                let info = inspect(packet).unwrap();
                assert_eq!(info.samples, samples);
                let mut block = vec![0.0; info.samples * wide];
                assert_eq!(decoder.decode(packet, &mut block).unwrap(), samples);
                heard.extend(block);
            }
            let sent = voice(wide, 0, count * samples);
            let skip = 9600 * wide;
            let likeness =
                snr(&sent[skip..sent.len() - delay * wide], &heard[skip + delay * wide..]);
            eprintln!("{channels} channels, {samples} samples: {likeness:.1} dB");
            assert!(likeness > 20.0, "{channels} channels, {samples} samples: {likeness:.1} dB");
        }
    }
}

#[test]
fn what_was_coded_in_stereo_can_be_heard_in_mono_and_the_other_way() {
    for (from, to) in [(1u8, 2u8), (2, 1)] {
        let (packets, _) = packets(&audio(from), 960, 30);
        let mut decoder = OpusDecoder::new(to).unwrap();
        let mut power = 0.0;
        for packet in &packets {
            let mut block = vec![0.0; 960 * usize::from(to)];
            assert_eq!(decoder.decode(packet, &mut block).unwrap(), 960);
            power = block.iter().map(|s| s * s).sum::<f32>() / block.len() as f32;
        }
        assert!(power > 1e-4);
    }
}

/// Likeness of each lost block to what was said, with every fifth packet lost.
fn with_losses(packets: &[Vec<u8>], delay: usize, fec: bool) -> f64 {
    let mut decoder = OpusDecoder::new(1).unwrap();
    let (mut sent, mut heard) = (vec![], vec![]);
    let mut block = [0.0; 960];
    for (number, packet) in packets.iter().enumerate() {
        if number % 5 == 4 {
            if fec {
                decoder.recover(&packets[number + 1], &mut block).unwrap();
            } else {
                decoder.conceal(&mut block).unwrap();
            }
            sent.extend(voice(1, number * 960 - delay, 960));
            heard.extend_from_slice(&block);
        } else {
            decoder.decode(packet, &mut block).unwrap();
        }
    }
    snr(&sent, &heard)
}

#[test]
fn a_lost_packet_is_recovered_from_the_next_better_than_made_up() {
    let settings = AudioEncode { bitrate: 40_000, fec: true, expected_loss: 20, ..audio(1) };
    let (packets, delay) = packets(&settings, 960, 101);
    let carried = packets.iter().filter(|p| inspect(p).unwrap().fec).count();
    assert!(carried > 60, "{carried} of 101 packets carry FEC");
    let (recovered, concealed) =
        (with_losses(&packets, delay, true), with_losses(&packets, delay, false));
    eprintln!("recovered {recovered:.1} dB, concealed {concealed:.1} dB");
    assert!(
        recovered > concealed + 4.0,
        "recovered {recovered:.1} dB, concealed {concealed:.1} dB"
    );
}

#[test]
fn a_stream_without_fec_says_so() {
    let (packets, _) = packets(&audio(1), 960, 50);
    assert!(packets.iter().all(|packet| !inspect(packet).unwrap().fec));
}

#[test]
fn concealment_lasts_as_long_as_it_is_asked_to() {
    let (packets, _) = packets(&audio(2), 960, 10);
    let mut decoder = OpusDecoder::new(2).unwrap();
    for packet in &packets {
        decoder.decode(packet, &mut [0.0; 1920]).unwrap();
    }
    for samples in [120, 240, 480, 960, 1440, 2880, 5760] {
        let mut block = vec![9.0; samples * 2];
        assert_eq!(decoder.conceal(&mut block).unwrap(), samples);
        assert!(block.iter().all(|s| s.abs() <= 1.5));
    }
    assert!(decoder.conceal(&mut [0.0; 7]).is_err());
}

#[test]
fn silence_costs_next_to_nothing_with_dtx_and_speech_comes_back_after_it() {
    let settings = AudioEncode { dtx: true, bitrate: 32_000, ..audio(1) };
    let mut encoder = OpusEncoder::new(&settings).unwrap();
    let mut decoder = OpusDecoder::new(1).unwrap();
    let mut packet = [0; MAX_PACKET];
    let mut block = [0.0; 960];
    for number in 0..25 {
        let len = encoder.encode(&voice(1, number * 960, 960), &mut packet).unwrap();
        assert!(len > 2, "speech is sent");
        decoder.decode(&packet[..len], &mut block).unwrap();
    }
    let mut tiny = 0;
    for _ in 0..100 {
        let len = encoder.encode(&[0.0; 960], &mut packet).unwrap();
        tiny += usize::from(len <= 2);
        decoder.decode(&packet[..len], &mut block).unwrap();
        assert!(block.iter().all(|s| s.is_finite()));
    }
    assert!(tiny > 60, "{tiny} of 100 packets of silence need not be sent");
    let mut power = 0.0;
    for number in 25..40 {
        let len = encoder.encode(&voice(1, number * 960, 960), &mut packet).unwrap();
        decoder.decode(&packet[..len], &mut block).unwrap();
        power = block.iter().map(|s| s * s).sum::<f32>() / 960.0;
    }
    assert!(power > 1e-3, "speech is heard again");
}

#[test]
fn the_bitrate_changes_while_running() {
    let mut encoder = OpusEncoder::new(&AudioEncode { bitrate: 96_000, ..audio(2) }).unwrap();
    let mut packet = [0; MAX_PACKET];
    let mut rate = |encoder: &mut OpusEncoder, begin: usize| -> usize {
        (begin..begin + 50)
            .map(|n| encoder.encode(&voice(2, n * 960, 960), &mut packet).unwrap() * 8)
            .sum()
    };
    let high = rate(&mut encoder, 0);
    encoder.set_bitrate(16_000).unwrap();
    rate(&mut encoder, 50);
    let low = rate(&mut encoder, 100);
    encoder.set_bitrate(96_000).unwrap();
    rate(&mut encoder, 150);
    let again = rate(&mut encoder, 200);
    assert!(low < 24_000 && high > 48_000 && again > 48_000, "{high} {low} {again} b/s");
}

#[test]
fn blocks_that_opus_does_not_know_are_refused_by_name() {
    let mut encoder = OpusEncoder::new(&audio(2)).unwrap();
    let mut packet = [0; MAX_PACKET];
    for samples in [0usize, 1, 119, 128, 441, 1024, 4800, 5760] {
        let error = encoder.encode(&vec![0.0; samples * 2], &mut packet).unwrap_err();
        assert!(error.to_string().contains("2.5, 5, 10, 20, 40 or 60 ms"), "{error}");
    }
    assert!(OpusEncoder::new(&audio(3)).is_err() && OpusDecoder::new(0).is_err());
}
