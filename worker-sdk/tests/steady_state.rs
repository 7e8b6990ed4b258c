#![allow(unsafe_code, reason = "counting allocations takes an allocator of the test's own")]
//! A frame's whole way, from loan to release, allocates nothing of ours.

mod support;

use remotemedia_worker::schema::Contract;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{Rig, geometry, send_picture};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting in a `const` thread-local allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn after_the_first_frames_a_frame_costs_no_allocation_but_iceoryx2s_own_for_the_loan() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let mut outlet = rig.outlet(&wiring.input);
    let mut inlet = rig.inlet(&wiring.input);
    let wake = rig.host().attachment().wake(&wiring.task_wake).expect("a wake-up");
    let mut frames = |range: std::ops::Range<u32>| {
        for number in range {
            send_picture(&mut outlet, number as u8);
            assert!(wake.wait(Some(support::PATIENCE)).expect("poll"));
            wake.drain(|_| ());
            let frame = inlet.receive().expect("a frame");
            assert!(frame.picture().is_some());
        }
    };
    // The first ones connect the ports.
    frames(0..10);
    let before = COUNT.get();
    assert!(before > 0, "the counter counts");
    frames(10..1010);
    // iceoryx2 0.10 allocates 104 bytes for each loan (`ChunkMutSharedState::new`), whatever the kind of service.
    assert_eq!(COUNT.get() - before, 1000, "allocations in a thousand frames");
    drop((outlet, inlet, wake));
    rig.end();
}
