//! Loan, publish, receive and wake, both ends in one process: what a producer and a reader may rely on.

mod support;

use remotemedia_worker::schema::contract::DropReason;
use remotemedia_worker::schema::control::ChannelSpec;
use remotemedia_worker::schema::{
    AudioGeometry, ChannelIndex, Codec, Content, Contract, Flags, HeaderFault, Meta, WhenFull,
};
use remotemedia_worker::{Inlet, Outlet, SendFault, monotonic_ns};
use std::time::Duration;
use support::{Rig, Wiring, geometry, send_picture, send_unit};

fn pair(rig: &mut Rig, contract: Contract, max_payload: u32) -> (Outlet, Inlet, Wiring) {
    let wiring = rig.wire(1, contract, max_payload);
    (rig.outlet(&wiring.input), rig.inlet(&wiring.input), wiring)
}

fn count(inlet: &Inlet, reason: DropReason) -> u64 {
    inlet.counters().dropped[reason.index()]
}

#[test]
fn a_frame_larger_than_its_channel_is_refused_with_the_figures_and_counted() {
    let mut rig = Rig::new();
    let (mut outlet, mut inlet, _) = pair(&mut rig, Contract::ENCODED_AUDIO, 1000);
    let fault = outlet.loan(1001).map(|_| ()).expect_err("too large");
    assert!(matches!(fault, SendFault::TooLarge { len: 1001, max: 1000, .. }), "{fault}");
    assert_eq!(outlet.counters().too_large, 1);
    send_unit(&mut outlet, 1, false);
    assert_eq!(inlet.receive().expect("the next one").meta().sequence, 0, "no gap for readers");
    drop((outlet, inlet));
    rig.end();
}

#[test]
fn an_encoder_publishes_the_beginning_of_a_greater_loan_and_the_reader_sees_no_more() {
    let mut rig = Rig::new();
    let (mut outlet, mut inlet, _) = pair(&mut rig, Contract::ENCODED_AUDIO, 1000);
    let meta = Meta::new(Content::Coded(Codec::Opus));
    let mut loan = outlet.loan_max().expect("a loan");
    assert_eq!(loan.payload_mut().len(), 1000);
    loan.payload_mut()[..7].copy_from_slice(b"the bit");
    loan.publish_len(meta, 7).expect("published");
    assert_eq!(inlet.receive().expect("a frame").payload(), b"the bit");
    let too_long = outlet.loan(10).expect("a loan").publish_len(meta, 11);
    assert_eq!(too_long, Err(SendFault::Header(HeaderFault::Length { said: 11, has: 10 })));
    let endless = outlet.loan(10).expect("a loan").publish_len(meta, usize::MAX);
    assert!(matches!(endless, Err(SendFault::Header(HeaderFault::Length { .. }))), "{endless:?}");
    assert!(inlet.receive().is_none(), "what is refused is not sent");
    drop((outlet, inlet));
    rig.end();
}

#[test]
fn a_producer_learns_at_once_of_a_description_that_no_reader_would_take() {
    let mut rig = Rig::new();
    let (mut outlet, mut inlet, _) = pair(&mut rig, Contract::RAW_AUDIO, 4096);
    let sound =
        |samples| Meta::new(Content::Sound(AudioGeometry { rate: 48_000, channels: 2, samples }));
    let wrong = outlet.loan(480 * 2 * 4).expect("a loan").publish(sound(481));
    assert_eq!(wrong, Err(SendFault::Header(HeaderFault::Geometry("samples"))));
    let empty = outlet.publish_empty(sound(480));
    assert_eq!(empty, Err(SendFault::Header(HeaderFault::Geometry("payload_len"))));
    let mut lost = sound(480);
    lost.flags = Flags::LOST;
    outlet.publish_empty(lost).expect("a lost one has no payload");
    let mut loan = outlet.loan(480 * 2 * 4).expect("a loan");
    loan.samples_mut().fill(0.25);
    loan.publish(sound(480)).expect("published");
    let lost = inlet.receive().expect("the lost one");
    assert!(lost.meta().flags.contains(Flags::LOST) && lost.sound().is_none());
    let sound = inlet.receive().expect("the sound");
    assert_eq!(sound.sound(), Some(&[0.25; 960][..]));
    assert_eq!(outlet.counters().failed, 2);
    drop((lost, sound, outlet, inlet));
    rig.end();
}

#[test]
fn a_loan_that_is_not_published_is_given_back() {
    let mut rig = Rig::new();
    let (mut outlet, mut inlet, _) = pair(&mut rig, Contract::RAW_VIDEO, 4096);
    for _ in 0..100 {
        drop(outlet.loan(4096).expect("there is always one"));
    }
    assert!(inlet.receive().is_none());
    drop((outlet, inlet));
    rig.end();
}

#[test]
fn a_frame_in_hand_stays_as_it_is_whatever_its_producer_does() {
    let mut rig = Rig::new();
    let payload = geometry().payload_len() as u32;
    let (mut outlet, mut inlet, _) = pair(&mut rig, Contract::RAW_VIDEO, payload);
    send_picture(&mut outlet, 1);
    send_picture(&mut outlet, 2);
    let held = [inlet.receive().expect("one"), inlet.receive().expect("another")];
    for number in 3..=50 {
        send_picture(&mut outlet, number);
        // A reader may hold two: the third waits until one is given back.
        assert!(inlet.receive().is_none());
    }
    for (frame, number) in held.iter().zip([1, 2]) {
        assert!(frame.picture().expect("a picture").y.iter().all(|y| *y == number));
    }
    let [first, second] = held;
    drop(first);
    assert_eq!(inlet.receive().expect("the oldest of two").meta().sequence, 48);
    let read_elsewhere = std::thread::spawn(move || second.payload()[0]);
    assert_eq!(read_elsewhere.join().expect("joined"), 2, "frames may go to other threads");
    assert_eq!(outlet.counters().published, 50);
    assert_eq!(outlet.counters().failed, 0, "the producer was never without memory");
    drop((outlet, inlet));
    rig.end();
}

#[test]
fn a_frame_for_nobody_is_counted_and_lost() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::ENCODED_AUDIO, 100);
    let mut outlet = rig.outlet(&wiring.input);
    send_unit(&mut outlet, 1, false);
    assert_eq!((outlet.counters().published, outlet.counters().no_consumer), (1, 1));
    let mut inlet = rig.inlet(&wiring.input);
    assert!(inlet.receive().is_none(), "a reader that comes later does not get it");
    send_unit(&mut outlet, 2, false);
    let frame = inlet.receive().expect("the next one");
    assert_eq!((frame.payload(), frame.missed()), (&[2; 4][..], 0));
    drop((frame, outlet, inlet));
    rig.end();
}

#[test]
fn a_frame_that_waited_too_long_is_dropped() {
    let mut rig = Rig::new();
    let contract = Contract { max_age_ms: 3_600_000, ..Contract::ENCODED_AUDIO };
    let (mut outlet, mut inlet, _) = pair(&mut rig, contract, 100);
    let hour = 3_600_000_000_000;
    let now = monotonic_ns();
    assert!(now > hour / 60, "the machine runs for a minute at least");
    for (sequence, media_time_ns) in
        [now.saturating_sub(hour + hour), now, now + hour].into_iter().enumerate()
    {
        let mut meta = Meta::new(Content::Coded(Codec::Opus));
        meta.media_time_ns = media_time_ns;
        outlet.loan(1).expect("a loan").publish(meta).expect("published");
        let frame = inlet.receive();
        // On a machine that was just started the first one is as old as it can be, and young enough.
        let old = now.saturating_sub(media_time_ns) > hour;
        assert_eq!(frame.is_none(), old, "frame {sequence}");
    }
    let old = u64::from(now > hour);
    assert_eq!(count(&inlet, DropReason::TooOld), old);
    drop((outlet, inlet));
    rig.end();
}

#[test]
fn a_lossless_producer_waits_for_its_reader_and_gives_up_at_its_deadline() {
    let mut rig = Rig::new();
    let contract = Contract { capacity: 2, when_full: WhenFull::Lossless, max_age_ms: 0 };
    let (mut outlet, mut inlet, _) = pair(&mut rig, contract, 100);
    send_unit(&mut outlet, 0, false);
    send_unit(&mut outlet, 1, false);
    let meta = Meta::new(Content::Coded(Codec::Opus));
    let third = outlet.loan(1).expect("a loan").publish(meta);
    assert!(matches!(third, Err(SendFault::Undelivered { .. })), "{third:?}");
    for number in [0, 1] {
        assert_eq!(inlet.receive().expect("kept").payload(), [number; 4]);
    }
    send_unit(&mut outlet, 3, false);
    assert_eq!(inlet.receive().expect("a frame").missed(), 1, "the gap tells of the third");
    drop((outlet, inlet));
    rig.end();
}

#[test]
fn several_readers_get_the_same_memory_and_a_slow_one_loses_only_for_itself() {
    let mut rig = Rig::new();
    let mut wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    wiring.input.service = "shared".into();
    wiring.input.max_readers = 2;
    rig.host().create_channel(&wiring.input).expect("a channel");
    let mut outlet = rig.outlet(&wiring.input);
    let (mut fast, mut slow) = (rig.inlet(&wiring.input), rig.inlet(&wiring.input));
    let third = rig.host().attachment().inlet(&wiring.input);
    assert!(third.is_err_and(|e| e.to_string().contains("ExceedsMaxSupportedSubscribers")));
    for number in 1..=10 {
        send_picture(&mut outlet, number);
        assert_eq!(fast.receive().expect("each").payload()[0], number);
    }
    assert_eq!(slow.receive().expect("the newest two").payload()[0], 9);
    assert_eq!(count(&slow, DropReason::Overflow), 0, "what was before its first is not its loss");
    assert_eq!(count(&fast, DropReason::Overflow), 0);
    drop((outlet, fast, slow));
    rig.end();
}

#[test]
fn a_wake_up_tells_which_channels_rang_and_is_silent_otherwise() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::ENCODED_AUDIO, 100);
    let mut other = ChannelSpec { index: ChannelIndex(255), ..wiring.input.clone() };
    other.service = "other".into();
    rig.host().create_channel(&other).expect("a channel");
    let wake = rig.host().attachment().wake(&wiring.task_wake).expect("a wake-up");
    assert!(!wake.wait(Some(Duration::ZERO)).expect("poll"), "nothing rang yet");
    let (mut a, mut b) = (rig.outlet(&wiring.input), rig.outlet(&other));
    let readers = (rig.inlet(&wiring.input), rig.inlet(&other));
    for round in 0..1000 {
        if round % 3 != 1 {
            send_unit(&mut a, 1, false);
        }
        if round % 3 != 2 {
            send_unit(&mut b, 1, false);
        }
        assert!(wake.wait(Some(support::PATIENCE)).expect("poll"), "round {round}");
        let mut rang = Vec::new();
        wake.drain(|index| rang.push(index.0));
        rang.sort_unstable();
        let expected: &[u32] = [&[0, 255][..], &[255], &[0]][round % 3];
        assert_eq!(rang, expected);
        assert!(!wake.wait(Some(Duration::ZERO)).expect("poll"), "drained is silent");
    }
    drop((a, b, readers, wake));
    rig.end();
}

#[test]
fn a_port_takes_a_new_epoch_and_frames_of_the_old_one_are_stale() {
    let mut rig = Rig::new();
    let (mut outlet, mut inlet, wiring) = pair(&mut rig, Contract::ENCODED_VIDEO, 100);
    send_unit(&mut outlet, 1, true);
    assert!(inlet.receive().is_some());
    send_unit(&mut outlet, 2, false);
    let next = ChannelSpec { epoch: 2, ..wiring.input.clone() };
    inlet.respec(&next).expect("the same service");
    assert!(inlet.receive().is_none());
    assert_eq!(count(&inlet, DropReason::Stale), 1);
    outlet.respec(rig.host().attachment(), &next).expect("the same service");
    send_unit(&mut outlet, 3, false);
    assert!(inlet.receive().is_none(), "what is missing is not known: a keyframe first");
    assert!(inlet.keyframe_wanted());
    send_unit(&mut outlet, 4, true);
    assert_eq!(inlet.receive().expect("the keyframe").payload(), [4; 4]);
    assert!(!inlet.keyframe_wanted());
    let elsewhere = ChannelSpec { service: "elsewhere".into(), ..next };
    assert!(inlet.respec(&elsewhere).is_err());
    assert!(outlet.respec(rig.host().attachment(), &elsewhere).is_err());
    drop((outlet, inlet));
    rig.end();
}
