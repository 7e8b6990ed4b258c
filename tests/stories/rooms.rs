//! Who sees whom.

use crate::router::{Router, report};

#[test]
fn two_peers_of_a_room_see_each_other_and_two_rooms_stay_apart() {
    let router = Router::start();
    let peer = |session: &str, id: &str| {
        router.spawn_call(&[
            "--session",
            session,
            "--peer-id",
            id,
            "--video",
            "pattern",
            "--audio",
            "ticks",
            "--size",
            "320x180",
            "--seconds",
            "6",
        ])
    };
    let calls =
        [peer("red", "anna"), peer("red", "bert"), peer("blue", "cara"), peer("blue", "dora")];
    let reports = calls.map(|call| report(&call.wait_with_output().unwrap()));
    for (own, other) in [(0, "bert"), (1, "anna"), (2, "dora"), (3, "cara")] {
        let peers = reports[own]["peers"].as_object().unwrap();
        let seen: Vec<&String> = peers.keys().collect();
        assert_eq!(seen, [other], "{}", reports[own]);
        assert!(peers[other]["video"]["received"].as_u64().unwrap() > 30, "{}", reports[own]);
        assert_eq!(peers[other]["video"]["out_of_order"], 0, "{}", reports[own]);
        assert!(peers[other]["audio"]["received"].as_u64().unwrap() > 0, "{}", reports[own]);
    }
    router.stop();
}
