//! Clock, pacer and rate in virtual time.

use proptest::prelude::*;
use remotemedia_rtp::{
    clock::{MediaClock, align, ntp_from_unix_ns},
    pace::{Output, Pacer, Pushed, Settings},
    rate::{Estimator, LossRate, Report},
};

const MS: u64 = 1_000_000;

// ---- the media clock ----

#[test]
fn media_time_is_the_first_arrival_and_the_rtp_time_since() {
    let mut clock = MediaClock::new(90_000);
    assert_eq!(clock.media_time_ns(0), None);
    // About to wrap; each frame later than the first one by up to 9 ms.
    for frame in 0..1000u64 {
        let rtp = (u32::MAX - 30_000).wrapping_add(frame as u32 * 3000);
        let taken = 50_000 * MS + frame * 100 * MS / 3;
        let media = clock.arrived(rtp, taken + frame * 7 % 10 * MS);
        assert!(media.abs_diff(taken) <= 1, "frame {frame}: {media} for {taken}");
    }
    assert_eq!(clock.jumps(), 0);
}

#[test]
fn a_first_frame_that_was_late_is_corrected_without_a_step() {
    let mut clock = MediaClock::new(90_000);
    let mut last = 0;
    for frame in 0..100u64 {
        let taken = 1000 * MS + frame * 40 * MS;
        let media =
            clock.arrived(frame as u32 * 3600, taken + if frame == 0 { 120 * MS } else { 0 });
        assert!(media > last, "it never stands still or runs back");
        last = media;
        if frame > 10 {
            assert_eq!(media, taken, "frame {frame}");
        }
    }
}

#[test]
fn a_sender_whose_clock_is_off_is_followed_without_a_step() {
    for ppm in [-200i64, 200] {
        let mut clock = MediaClock::new(48_000);
        let mut last = None;
        // An hour of 20 ms packets.
        for packet in 0..180_000u64 {
            let off = packet as i64 * 20_000 / 1_000_000 * ppm * 1000 / 1000 * 1000;
            let arrival = (1000 * MS + packet * 20 * MS) as i64 + off;
            let media = clock.arrived(packet as u32 * 960, arrival as u64);
            if let Some(last) = last {
                let step = media - last;
                assert!((19_800_000..=20_200_000).contains(&step) || packet < 3, "{step}");
            }
            assert!((arrival as u64).abs_diff(media) < 10 * MS, "{ppm} ppm, packet {packet}");
            last = Some(media);
        }
        assert_eq!(clock.jumps(), 0);
    }
}

#[test]
fn a_jump_of_the_rtp_time_begins_a_new_line_that_does_not_run_back() {
    let mut clock = MediaClock::new(90_000);
    let before = clock.arrived(1000, 1000 * MS);
    let after = clock.arrived(1000u32.wrapping_sub(900_000_000), 1040 * MS);
    assert!(after > before && after <= 1041 * MS);
    assert_eq!(clock.jumps(), 1);
    let next = clock.arrived(1000u32.wrapping_sub(900_000_000) + 3600, 1080 * MS);
    assert_eq!(next - after, 40 * MS);
}

#[test]
fn after_a_stall_of_seconds_media_times_do_not_stay_in_the_future() {
    let mut clock = MediaClock::new(90_000);
    let mut behind = 0;
    for frame in 0..1000u64 {
        let taken = 1000 * MS + frame * 40 * MS;
        // Four seconds of frames arrive at once.
        let arrival = if (100..200).contains(&frame) { 1000 * MS + 200 * 40 * MS } else { taken };
        let media = clock.arrived(frame as u32 * 3600, arrival);
        assert!(media >= behind);
        behind = media;
        if frame > 500 {
            assert!(media <= arrival, "frame {frame} is {} ms ahead", (media - arrival) / MS);
        }
    }
}

#[test]
fn what_was_lost_does_not_come_after_what_followed_it() {
    let mut clock = MediaClock::new(48_000);
    clock.arrived(0, 1100 * MS); // 100 ms late
    let mut last = 0;
    for period in 1..100u32 {
        let media = if period % 10 == 0 {
            clock.arrived(period * 960, 1000 * MS + u64::from(period) * 20 * MS)
        } else {
            clock.media_time_ns(period * 960).expect("it has begun")
        };
        assert!(media >= last, "period {period}: {media} after {last}");
        last = media;
    }
    assert!(last <= 1000 * MS + 100 * 20 * MS);
}

#[test]
fn sender_reports_bring_sound_and_picture_together() {
    let (mut sound, mut video) = (MediaClock::new(48_000), MediaClock::new(90_000));
    let unix = 1_700_000_000_000 * MS;
    let mut apart = 0i64;
    for tick in 0..3000u64 {
        let taken = tick * 20 * MS;
        // The picture takes 60 ms longer to be sent.
        let s = sound.arrived(7 + tick as u32 * 960, 5000 * MS + taken);
        let v = video.arrived(99 + tick as u32 * 1800, 5060 * MS + taken);
        if tick % 50 == 0 {
            sound.sender_report(ntp_from_unix_ns(unix + taken), 7 + tick as u32 * 960);
            video.sender_report(ntp_from_unix_ns(unix + taken), 99 + tick as u32 * 1800);
            align(&mut [&mut sound, &mut video]);
        }
        apart = v as i64 - s as i64;
        if tick == 0 {
            assert_eq!(apart, 60 * MS as i64);
        }
    }
    assert!(apart.unsigned_abs() < MS / 10, "{apart} ns apart after a minute");
}

#[test]
fn a_lying_sender_report_moves_nothing_by_more_than_half_a_second() {
    let (mut sound, mut video) = (MediaClock::new(48_000), MediaClock::new(90_000));
    for tick in 0..50_000u64 {
        let taken = 5000 * MS + tick * 20 * MS;
        sound.arrived(tick as u32 * 960, taken);
        let media = video.arrived(tick as u32 * 1800, taken);
        sound.sender_report(u64::MAX / 3 * (tick % 4), tick as u32 * 77);
        video.sender_report(tick << 40, u32::MAX - tick as u32);
        align(&mut [&mut sound, &mut video]);
        assert!(media <= taken && taken - media <= 500 * MS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_arrives_a_later_frame_never_gets_an_earlier_time(
        frames in prop::collection::vec((prop_oneof![9 => 0u32..10_000, 1 => any::<u32>()], 0u64..5000), 1..300),
    ) {
        let mut clock = MediaClock::new(90_000);
        let (mut rtp, mut arrival, mut last) = (0u32, 0u64, 0u64);
        for (step, later) in frames {
            rtp = rtp.wrapping_add(step);
            arrival += later * MS;
            let media = clock.arrived(rtp, arrival);
            if step < 10_000 {
                prop_assert!(media >= last, "{media} after {last}");
            }
            last = media;
        }
        clock.arrived(rtp.wrapping_add(1), u64::MAX);
        clock.sender_report(u64::MAX, rtp);
        align(&mut [&mut clock]);
        clock.arrived(rtp.wrapping_add(2), 0);
    }
}

// ---- the pacer ----

/// What leaves until the pacer has nothing more to do, and when.
fn run(pacer: &mut Pacer<u32>, mut now: u64) -> Vec<(u64, Output<u32>)> {
    let mut out = Vec::new();
    loop {
        while let Some(output) = pacer.poll(now) {
            out.push((now, output));
        }
        let Some(wake) = pacer.wake_at() else { return out };
        assert!(wake > now, "it wants to be polled for nothing");
        now = wake;
    }
}

#[test]
fn an_ordinary_picture_leaves_at_once() {
    let mut pacer = Pacer::new(Settings::default(), 1_500_000);
    for frame in 0..100u64 {
        let now = frame * 33 * MS;
        for packet in 0..6 {
            assert_eq!(pacer.push(now, packet, 1050, frame == 0 && packet == 0), Pushed::Queued);
        }
        let out = run(&mut pacer, now);
        assert!(out.iter().all(|(at, _)| *at == now));
        assert_eq!(out.len(), 6);
    }
}

#[test]
fn a_keyframe_is_spread_at_two_and_a_half_times_the_target() {
    let mut pacer = Pacer::new(Settings::default(), 1_500_000);
    for packet in 0..60 {
        pacer.push(0, packet, 1000, packet == 0);
    }
    let out = run(&mut pacer, 0);
    let packets: Vec<_> = (0..60).map(Output::Send).collect();
    assert_eq!(out.iter().map(|(_, output)| output.clone()).collect::<Vec<_>>(), packets);
    let (first, last) = (out[0].0, out[59].0);
    // 60 kB less a burst of 40 ms, at 3.75 Mb/s: 88 ms.
    assert!(first == 0 && (75 * MS..95 * MS).contains(&last), "{} ms", last / MS);
    for pair in out.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= 3 * MS, "evenly");
    }
}

#[test]
fn a_keyframe_at_a_starved_rate_still_gets_through() {
    let mut pacer = Pacer::new(Settings::default(), 300_000);
    for packet in 0..40 {
        pacer.push(0, packet, 1000, packet == 0);
    }
    let out = run(&mut pacer, 0);
    assert_eq!(out.len(), 40);
    assert!(out.iter().all(|(_, output)| matches!(output, Output::Send(_))));
    assert!(out[39].0 < 250 * MS, "{} ms", out[39].0 / MS);
}

#[test]
fn a_queue_that_grew_too_old_goes_and_a_keyframe_is_asked_for() {
    let mut pacer = Pacer::new(Settings::default(), 300_000);
    let mut now = 0;
    let mut asked = 0;
    // Four times what the fastest pace takes.
    for frame in 0..100u32 {
        for packet in 0..200 {
            pacer.push(now, frame, 1200, frame == 0 && packet == 0);
        }
        while let Some(output) = pacer.poll(now) {
            asked += u32::from(output == Output::KeyframeNeeded);
        }
        now += 33 * MS;
    }
    assert_eq!(asked, 1, "once, as long as none came");
    let stats = pacer.stats();
    assert!(stats.too_old + stats.overflow > 0 && stats.awaiting_keyframe > 0);
    assert_eq!(pacer.push(now, 7, 500, false), Pushed::AwaitingKeyframe);
    assert_eq!(pacer.push(now, 8, 500, true), Pushed::Queued);
    assert_eq!(pacer.push(now, 9, 500, false), Pushed::Queued);
    let out: Vec<_> = run(&mut pacer, now).into_iter().map(|(_, output)| output).collect();
    assert_eq!(out, [Output::Send(8), Output::Send(9)]);
}

#[test]
fn a_pacer_that_nobody_polled_does_not_send_what_is_old() {
    let mut pacer = Pacer::new(Settings::default(), 300_000);
    pacer.push(0, 1, 1000, true);
    assert_eq!(pacer.poll(251 * MS), Some(Output::KeyframeNeeded));
    assert_eq!((pacer.poll(251 * MS), pacer.stats().too_old), (None, 1));
}

#[test]
fn a_paused_viewer_begins_again_with_a_keyframe() {
    let mut pacer = Pacer::new(Settings::default(), 300_000);
    pacer.push(0, 1, 1000, true);
    pacer.clear();
    assert_eq!((pacer.poll(0), pacer.queued_bytes(), pacer.wake_at()), (None, 0, None));
    assert_eq!(pacer.push(0, 2, 1000, false), Pushed::AwaitingKeyframe);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flood_stays_within_the_bounds_and_packets_leave_in_order(
        pushes in prop::collection::vec((0u64..40, 0usize..70_000, any::<bool>(), any::<u32>()), 1..300),
    ) {
        let settings = Settings { max_bytes: 200_000, ..Settings::default() };
        let mut pacer = Pacer::new(settings, 100_000);
        let (mut now, mut last) = (0, None);
        for (index, (later, bytes, keyframe, target)) in pushes.into_iter().enumerate() {
            now += later * MS;
            pacer.push(now, index, bytes, keyframe);
            prop_assert!(pacer.queued_bytes() <= 200_000);
            while let Some(output) = pacer.poll(now) {
                if let Output::Send(sent) = output {
                    prop_assert!(last.is_none_or(|last| last < sent));
                    last = Some(sent);
                }
            }
            prop_assert!(pacer.wake_at().is_none_or(|wake| wake > now));
            if index % 10 == 0 {
                pacer.set_target(now, target);
            }
        }
    }
}

// ---- the rate ----

fn report(rate: &mut LossRate, at_ms: u64, fraction_lost: f32) -> u32 {
    rate.on_report(at_ms * MS, Report { fraction_lost, round_trip_ns: Some(50 * MS) });
    rate.target_bps()
}

#[test]
fn a_clean_path_keeps_the_configured_rate() {
    let mut rate = LossRate::new(100_000, 2_000_000);
    for second in 0..100 {
        assert_eq!(report(&mut rate, second * 1000, 0.0), 2_000_000);
    }
}

#[test]
fn heavy_loss_lowers_the_rate_and_its_end_raises_it_five_percent_a_second() {
    let mut rate = LossRate::new(100_000, 2_000_000);
    assert_eq!(report(&mut rate, 0, 0.2), 1_800_000);
    assert_eq!(report(&mut rate, 100, 0.2), 1_800_000, "the first cut is not seen yet");
    assert_eq!(report(&mut rate, 350, 0.2), 1_620_000);
    assert_eq!(report(&mut rate, 1350, 0.05), 1_620_000, "in between it holds");
    assert_eq!(report(&mut rate, 2350, 0.0), 1_701_000);
    assert_eq!(report(&mut rate, 60_000_000, 0.0), 1_786_050, "one second's share at most");
    let half = report(&mut rate, 60_000_500, 0.01);
    assert!((1_829_000..1_831_000).contains(&half), "{half}");
}

#[test]
fn the_rate_stays_between_floor_and_ceiling_and_tells_when_the_floor_is_too_much() {
    let mut rate = LossRate::new(500_000, 2_000_000);
    for second in 0..10 {
        assert!(report(&mut rate, second * 1000, 1.0) >= 500_000);
    }
    assert!(rate.starved());
    assert_eq!(rate.target_bps(), 500_000);
    report(&mut rate, 11_000, 0.0);
    assert!(!rate.starved());
    for second in 12..100 {
        assert!(report(&mut rate, second * 1000, 0.0) <= 2_000_000);
    }
    rate.set_bounds(100_000, 800_000);
    assert_eq!(rate.target_bps(), 800_000);
    rate.set_bounds(900_000, 300_000);
    assert_eq!(rate.target_bps(), 300_000, "a floor above the ceiling is the ceiling");
}

#[test]
fn reports_without_sense_do_no_harm() {
    let mut rate = LossRate::new(100_000, 2_000_000);
    for (at, lost) in [(0, f32::NAN), (1, f32::INFINITY), (2, -5.0), (3, -0.0)] {
        assert_eq!(report(&mut rate, at, lost), 2_000_000);
    }
    assert_eq!(report(&mut rate, 4, 99.0), 1_000_000, "more than all is all");
    report(&mut rate, 0, 0.0);
    rate.on_report(u64::MAX, Report { fraction_lost: 0.5, round_trip_ns: Some(u64::MAX) });
}
