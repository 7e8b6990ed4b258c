//! What a sound track's ingest gives on networks good and bad: one output for each period.

mod stream;

use bytes::Bytes;
use proptest::prelude::*;
use remotemedia_rtp::{
    Packet,
    audio::{Ingest, Output, Settings},
};
use stream::MS;

const PERIOD: u64 = 20 * MS;

/// The packet of period `number`: sound, told by its bytes, of 20 ms.
fn packet(number: u32) -> Packet {
    Packet {
        ssrc: 5,
        payload_type: 111,
        // About to wrap, both.
        sequence: (number as u16).wrapping_add(65_530),
        timestamp: number.wrapping_mul(960).wrapping_add(u32::MAX - 2000),
        marker: false,
        payload: [&[31 << 3][..], &number.to_be_bytes(), &[1; 60]].concat().into(),
        arrival_ns: 1000 * MS + u64::from(number) * PERIOD,
    }
}

fn dtx(number: u32) -> Packet {
    Packet { payload: Bytes::from_static(&[31 << 3]), ..packet(number) }
}

fn late(packet: Packet, by_ns: u64) -> Packet {
    Packet { arrival_ns: packet.arrival_ns + by_ns, ..packet }
}

/// The period that an output begins, as a number.
fn period(output: &Output) -> u32 {
    let (Output::Packet { rtp_time, .. }
    | Output::Lost { rtp_time, .. }
    | Output::Silence { rtp_time, .. }) = output;
    rtp_time.wrapping_sub(u32::MAX - 2000) / 960
}

fn letter(output: &Output) -> char {
    match output {
        Output::Packet { discontinuity: false, .. } => 'p',
        Output::Packet { .. } => 'P',
        Output::Lost { .. } => 'l',
        Output::Silence { .. } => 's',
    }
}

fn drain(ingest: &mut Ingest, now: u64) -> Vec<Output> {
    std::iter::from_fn(|| ingest.poll(now)).collect()
}

/// Delivers packets at their arrival times and polls whenever the ingest wants it, until `end`.
fn run(ingest: &mut Ingest, mut packets: Vec<Packet>, end: u64) -> Vec<(u64, Output)> {
    packets.sort_by_key(|packet| packet.arrival_ns);
    let mut packets = packets.into_iter().peekable();
    let mut out = Vec::new();
    loop {
        let next = packets.peek().map(|packet| packet.arrival_ns);
        let now = match (ingest.wake_at(), next) {
            (Some(wake), Some(next)) if wake < next => wake,
            (_, Some(next)) => {
                ingest.push(next, packets.next().expect("it was seen"));
                next
            }
            (Some(wake), None) if wake <= end => wake,
            _ => return out,
        };
        out.extend(drain(ingest, now).into_iter().map(|output| (now, output)));
        assert!(
            ingest.wake_at().is_none_or(|wake| wake > now),
            "it wants to be polled for nothing"
        );
    }
}

fn letters(out: &[(u64, Output)]) -> String {
    out.iter().map(|(_, output)| letter(output)).collect()
}

/// Each output begins where the one before ended.
fn assert_seamless(out: &[(u64, Output)]) {
    for pair in out.windows(2) {
        let (before, after) = (period(&pair[0].1), period(&pair[1].1));
        assert_eq!(before + 1, after, "{}", letters(out));
    }
}

#[test]
fn packets_in_order_go_on_at_once() {
    let mut ingest = Ingest::new(Settings::default());
    let out = run(&mut ingest, (0..500).map(packet).collect(), 0);
    assert_eq!(letters(&out), "p".repeat(500));
    for (number, (at, output)) in (0..).zip(&out) {
        let sent = packet(number);
        assert_eq!(*at, sent.arrival_ns, "no added delay");
        let expected = Output::Packet {
            rtp_time: sent.timestamp,
            payload: sent.payload,
            duration_ns: PERIOD,
            first_arrival_ns: sent.arrival_ns,
            discontinuity: false,
        };
        assert_eq!(*output, expected);
    }
}

#[test]
fn a_lost_packet_is_declared_lost_soon_after_the_next_one_came() {
    let mut ingest = Ingest::new(Settings::default());
    let packets = (0..100).filter(|n| *n != 50 && *n != 70 && *n != 71).map(packet).collect();
    let out = run(&mut ingest, packets, 0);
    assert_seamless(&out);
    assert_eq!(letters(&out).matches('l').count(), 3);
    let (at, lost) = &out[50];
    assert_eq!(*lost, Output::Lost { rtp_time: packet(50).timestamp, duration_ns: PERIOD });
    assert_eq!(*at, packet(51).arrival_ns + 10 * MS);
    assert_eq!(out[52].0, packet(52).arrival_ns, "and the delay is gone with the next one");
    assert_eq!(ingest.stats().lost_periods, 3);
}

#[test]
fn packets_that_overtake_each_other_are_put_in_order() {
    let mut ingest = Ingest::new(Settings::default());
    let packets =
        (0..100).map(|n| late(packet(n), if n % 10 == 5 { 28 * MS } else { 0 })).collect();
    let out = run(&mut ingest, packets, 0);
    assert_seamless(&out);
    assert_eq!(letters(&out), "p".repeat(100));
    assert_eq!(ingest.stats().recovered, 10);
}

#[test]
fn a_path_that_reorders_more_than_it_was_known_to_is_learned() {
    let mut ingest = Ingest::new(Settings::default());
    let packets =
        (0..200).map(|n| late(packet(n), if n % 10 == 5 { 55 * MS } else { 0 })).collect();
    let out = run(&mut ingest, packets, 0);
    assert_seamless(&out);
    let lost = letters(&out).matches('l').count();
    assert!((1..=4).contains(&lost), "{}", letters(&out));
    assert!(!letters(&out[100..]).contains('l'), "{}", letters(&out));
}

#[test]
fn doubles_and_padding_give_nothing() {
    let mut ingest = Ingest::new(Settings::default());
    let packets = (0..50).flat_map(|n| [packet(n), late(packet(n), MS)]).collect();
    let out = run(&mut ingest, packets, 0);
    assert_eq!(letters(&out), "p".repeat(50));
    assert_eq!(ingest.stats().late + ingest.stats().duplicates, 50);
}

#[test]
fn in_discontinuous_transmission_each_period_is_silent_in_its_time() {
    let mut ingest = Ingest::new(Settings::default());
    // Speech, one packet that says "silence", then one each 400 ms, as libopus does; then speech again.
    let mut packets: Vec<Packet> = (0..10).map(packet).collect();
    packets.push(dtx(10));
    for (sequence, number) in [(11u16, 30), (12, 50)] {
        let sequence = packet(0).sequence.wrapping_add(sequence);
        packets.push(Packet { sequence, ..dtx(number) });
    }
    for index in 0..10u16 {
        let sequence = packet(0).sequence.wrapping_add(13 + index);
        packets.push(Packet { sequence, ..packet(60 + u32::from(index)) });
    }
    let out = run(&mut ingest, packets, 0);
    assert_seamless(&out);
    let (p, s) = ("p", "s");
    let expected =
        [p.repeat(11), s.repeat(19), p.into(), s.repeat(19), p.into(), s.repeat(9), p.repeat(10)];
    assert_eq!(letters(&out), expected.concat());
    for (at, output) in &out {
        let due = packet(period(output)).arrival_ns;
        assert!((due..=due + 30 * MS).contains(at), "silence does not come in a burst");
    }
}

#[test]
fn a_pause_without_a_word_is_bridged_and_known_as_such_afterwards() {
    let mut ingest = Ingest::new(Settings::default());
    let mut packets: Vec<Packet> = (0..10).map(packet).collect();
    // Consecutive sequence numbers, RTP time 100 ms on.
    for index in 10..20u32 {
        packets.push(Packet { sequence: packet(index).sequence, ..packet(index + 5) });
    }
    let out = run(&mut ingest, packets, 0);
    assert_seamless(&out);
    assert_eq!(letters(&out), format!("{}lllls{}", "p".repeat(10), "p".repeat(10)));
}

#[test]
fn a_track_whose_packets_stop_is_lost_then_silent_then_stops() {
    let mut ingest = Ingest::new(Settings::default());
    let out = run(&mut ingest, (0..10).map(packet).collect(), u64::MAX);
    assert_seamless(&out);
    assert_eq!(letters(&out), format!("{}{}{}", "p".repeat(10), "l".repeat(10), "s".repeat(38)));
    let (at, lost) = &out[10];
    assert_eq!(*at, packet(period(lost)).arrival_ns + 30 * MS);
    assert!(!ingest.is_active());
    assert_eq!(ingest.wake_at(), None);
    // An hour later.
    let again = run(&mut ingest, vec![packet(180_000), packet(180_001)], 0);
    assert_eq!(letters(&again), "Pp");
}

#[test]
fn a_stall_of_the_network_is_learned_from_and_leaves_no_delay_behind() {
    let mut ingest = Ingest::new(Settings::default());
    let stall = |n: u32| if (40..45).contains(&n) { u64::from(45 - n) * PERIOD } else { 0 };
    let packets = (0..100).map(|n| late(packet(n), stall(n))).collect();
    let out = run(&mut ingest, packets, 0);
    assert_seamless(&out);
    assert_eq!(letters(&out[..40]), "p".repeat(40));
    assert_eq!(letters(&out[45..]), "p".repeat(55));
    assert_eq!(out[99].0, packet(99).arrival_ns);
    // The next stall of the same kind is waited out.
    let again = |n: u32| if (140..145).contains(&n) { u64::from(145 - n) * PERIOD } else { 0 };
    let packets = (100..200).map(|n| late(packet(n), again(n))).collect();
    let out = run(&mut ingest, packets, 0);
    assert!(letters(&out).matches('l').count() <= 3, "{}", letters(&out));
}

#[test]
fn a_path_that_became_longer_is_followed() {
    let mut ingest = Ingest::new(Settings::default());
    let packets = (0..200).map(|n| late(packet(n), if n < 50 { 0 } else { 150 * MS })).collect();
    let out = run(&mut ingest, packets, 0);
    let tail = &out[out.len() - 100..];
    assert_seamless(tail);
    assert_eq!(letters(tail), "p".repeat(100));
}

#[test]
fn a_jump_of_the_rtp_time_is_a_discontinuity_and_no_flood_of_silence() {
    for jump in [48_000 * 3, 48_000 / 2, 0x8000_0000, 0xffff_0000] {
        let mut ingest = Ingest::new(Settings::default());
        let moved = |n: u32| {
            let timestamp = packet(n).timestamp.wrapping_add(if n < 20 { 0 } else { jump });
            Packet { timestamp, ..packet(n) }
        };
        let out = run(&mut ingest, (0..60).map(moved).collect(), 0);
        let text = letters(&out);
        assert_eq!(text.matches('P').count(), 1, "by {jump}: {text}");
        assert!(text.ends_with(&"p".repeat(30)), "by {jump}: {text}");
        assert!(out.len() <= 60, "by {jump}: {text}");
    }
}

#[test]
fn a_packet_that_is_not_opus_is_a_lost_one() {
    let mut ingest = Ingest::new(Settings::default());
    let broken = |n: u32| match n {
        20 => Packet { payload: Bytes::from_static(&[31 << 3 | 3, 0, 1, 2]), ..packet(n) },
        _ => packet(n),
    };
    let out = run(&mut ingest, (0..40).map(broken).collect(), 0);
    assert_seamless(&out);
    assert_eq!(letters(&out), format!("{}l{}", "p".repeat(20), "p".repeat(19)));
    assert_eq!(ingest.stats().malformed, 1);
}

#[test]
fn a_sender_whose_clock_is_off_does_not_run_into_losses() {
    for ppm in [-300i64, 300] {
        let mut ingest = Ingest::new(Settings::default());
        let drift = |n: u32| {
            let plain = packet(n);
            let off = i64::from(n) * PERIOD as i64 / 1_000_000 * ppm;
            Packet { arrival_ns: (plain.arrival_ns as i64 + off) as u64, ..plain }
        };
        // Ten minutes: 180 ms off at the end.
        let out = run(&mut ingest, (0..30_000).map(drift).collect(), 0);
        assert_eq!(letters(&out), "p".repeat(30_000), "{ppm} ppm");
    }
}

#[test]
fn packets_of_any_length_are_given_their_own_duration() {
    for (toc, ticks) in [(16u8, 120u32), (26, 480), (31, 960), (3, 2880)] {
        let mut ingest = Ingest::new(Settings::default());
        let ns = u64::from(ticks) * 1_000_000 / 48;
        let sized = |n: u32| Packet {
            timestamp: n * ticks,
            payload: vec![toc << 3, 1, 2, 3].into(),
            arrival_ns: u64::from(n) * ns,
            ..packet(n)
        };
        let out = run(&mut ingest, (0..50).filter(|n| *n != 25).map(sized).collect(), 0);
        assert_eq!(letters(&out), format!("{}l{}", "p".repeat(25), "p".repeat(24)), "{ticks}");
        assert_eq!(out[25].1, Output::Lost { rtp_time: 25 * ticks, duration_ns: ns });
    }
}

#[test]
fn a_flood_stays_within_the_bounds() {
    let mut ingest = Ingest::new(Settings::default());
    for number in 0..100_000u32 {
        let packet = Packet {
            sequence: (number * 2) as u16,
            payload: vec![31 << 3; 9000 - (number % 2000) as usize].into(),
            ..packet(number)
        };
        ingest.push(0, packet);
        let (places, bytes) = ingest.buffered();
        assert!(places <= 128 && bytes <= 128 * 8192);
    }
    let out = drain(&mut ingest, u64::MAX / 2);
    assert!(out.len() < 1000, "{}", out.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_each_period_comes_out_once_and_in_order(
        fates in prop::collection::vec((prop::bool::weighted(0.05), 0..25u64, prop::option::weighted(0.05, 0..40u64)), 300),
    ) {
        let mut network = Vec::new();
        for (number, (lost, delay, twice)) in (0..).zip(&fates) {
            if number > 0 && *lost {
                continue;
            }
            // The first one is the first to arrive, or the second would be.
            let delay = if number == 0 { 0 } else { *delay };
            network.push(late(packet(number), delay * MS));
            network.extend(twice.map(|more| late(packet(number), more * MS)));
        }
        let last = network.iter().map(|p| p.timestamp.wrapping_sub(packet(0).timestamp) / 960).max().unwrap();
        let mut ingest = Ingest::new(Settings::default());
        let out = run(&mut ingest, network, packet(305).arrival_ns);
        for (expected, (_, output)) in (0..).zip(&out) {
            prop_assert_eq!(period(output), expected, "{}", letters(&out));
            if let Output::Packet { payload, rtp_time, .. } = output {
                prop_assert_eq!(payload, &packet(expected).payload);
                prop_assert_eq!(*rtp_time, packet(expected).timestamp);
            }
        }
        prop_assert!(out.len() as u32 > last, "{} of {}", out.len(), last);
    }

    #[test]
    fn any_packets_are_taken_without_a_panic_or_a_flood(
        packets in prop::collection::vec(
            (any::<u16>(), 0..8u16, any::<u32>(), 0..4u8, prop::collection::vec(any::<u8>(), 0..6), 0..60u64),
            0..200,
        ),
    ) {
        let mut ingest = Ingest::new(Settings::default());
        let (mut sequence, mut timestamp, mut now) = (0u16, 0u32, 0);
        for (jump, step, time, kind, payload, later) in packets {
            sequence = if step == 7 { jump } else { sequence.wrapping_add(step) };
            timestamp = if kind == 0 { time } else { timestamp.wrapping_add(960 * u32::from(kind)) };
            now += later * MS;
            let payload = payload.into();
            let packet = Packet { ssrc: 1, payload_type: 111, sequence, timestamp, marker: false, payload, arrival_ns: now };
            ingest.push(now, packet);
            let out = drain(&mut ingest, now);
            prop_assert!(out.len() <= 1000, "{} at once", out.len());
            prop_assert!(ingest.wake_at().is_none_or(|wake| wake > now));
        }
        drain(&mut ingest, u64::MAX);
    }
}
