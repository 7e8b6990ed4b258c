//! Pure: whose streams a peer is to receive, by the routes of the outputs.

use super::wiring::{MAIN, Output, Plan, Route, Source, Stream};
use remotemedia_shm_schema::{Media, OutputId, PeerId};
use std::collections::BTreeSet;

/// Where a peer stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Viewer<'a> {
    /// Who.
    pub(super) peer: &'a PeerId,
    /// Whether the session is this peer's own: in it nobody meets anybody.
    pub(super) alone: bool,
}

impl Viewer<'_> {
    /// What it is to receive of these sources. Of some the session's own peers are `senders`, the others were attached.
    pub(super) fn streams<'a>(
        self,
        plan: &Plan,
        sources: impl Iterator<Item = &'a Source>,
        sender: impl Fn(&PeerId) -> bool,
        subscribed: impl Fn(&OutputId) -> bool,
    ) -> Vec<Stream> {
        let mut all = Vec::new();
        for source in sources {
            let sent = sender(&source.peer);
            let gets = |output: &&Output| {
                // What goes to nobody by itself goes to whom `main` would.
                let asked = output.routes.is_empty() && subscribed(&output.id);
                self.gets(output, source, sent) || asked && self.by(&Route::Default, source, sent)
            };
            for output in plan.outputs_of(source.kind).filter(gets) {
                all.push(Stream { source: source.clone(), output: output.id.clone() });
            }
        }
        all
    }

    /// The kinds of its own media that come back to it as `main`: in the sections that it offered, where it is alone.
    pub(super) fn mirrored(self, plan: &Plan) -> BTreeSet<Media> {
        let main = plan.outputs.iter().filter(|output| output.id.as_str() == MAIN);
        let own = main.filter(|output| {
            let source = Source { peer: self.peer.clone(), kind: output.kind };
            self.alone && self.gets(output, &source, true)
        });
        own.map(|output| output.kind).collect()
    }

    /// Whether it may ask for this output.
    pub(super) fn may(self, output: &Output) -> bool {
        let other = |route: &Route| matches!(route, Route::Peer(peer) if peer != self.peer);
        output.routes.is_empty() || !output.routes.iter().all(other)
    }

    fn gets(self, output: &Output, source: &Source, sent: bool) -> bool {
        output.routes.iter().any(|route| self.by(route, source, sent))
    }

    fn by(self, route: &Route, source: &Source, sent: bool) -> bool {
        let own = source.peer == *self.peer;
        match route {
            // Nobody sends what was attached: all get it.
            Route::Default => own == (self.alone && sent),
            Route::Sender => own,
            Route::Others => !own,
            Route::All => true,
            Route::Peer(peer) => peer == self.peer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wiring::Feed;
    use super::*;
    use std::collections::BTreeMap;

    fn peer(name: &str) -> PeerId {
        name.parse().expect("an id")
    }

    fn plan(outputs: &[(&str, Route)]) -> Plan {
        let output = |(id, route): &(&str, Route)| Output {
            id: id.parse().expect("an id"),
            kind: Media::Video,
            feed: Feed::Input,
            routes: vec![route.clone()],
        };
        Plan {
            session: "s".parse().expect("an id"),
            stages: Vec::new(),
            outputs: outputs.iter().map(output).collect(),
            former: BTreeMap::new(),
            max_video: (64, 48),
            video_bitrate: 1,
            audio_bitrate: 1,
        }
    }

    /// What bob gets of anna, of himself, and of a robot that was attached.
    fn bob(plan: &Plan, alone: bool) -> Vec<String> {
        let sources =
            ["anna", "bob", "robot"].map(|name| Source { peer: peer(name), kind: Media::Video });
        let sent = |who: &PeerId| who.as_str() != "robot";
        let viewer = Viewer { peer: &peer("bob"), alone };
        let asked = |output: &OutputId| output.as_str() == "asked";
        let streams = viewer.streams(plan, sources.iter(), sent, asked);
        streams.iter().map(Stream::to_string).collect()
    }

    #[test]
    fn what_nobody_routes_goes_to_its_sender_alone_and_to_the_others_in_a_room() {
        let plan = plan(&[("main", Route::Default)]);
        assert_eq!(bob(&plan, true), ["bob", "robot"]);
        assert_eq!(bob(&plan, false), ["anna", "robot"]);
        let viewer = |alone| Viewer { peer: &peer("bob"), alone }.mirrored(&plan);
        assert_eq!((viewer(true), viewer(false)), ([Media::Video].into(), BTreeSet::new()));
    }

    #[test]
    fn each_output_goes_where_its_route_says() {
        let plan = plan(&[
            ("main", Route::Others),
            ("back", Route::Sender),
            ("every", Route::All),
            ("bobs", Route::Peer(peer("bob"))),
            ("annas", Route::Peer(peer("anna"))),
        ]);
        let all = [
            "anna",
            "anna.every",
            "anna.bobs",
            "bob.back",
            "bob.every",
            "bob.bobs",
            "robot",
            "robot.every",
            "robot.bobs",
        ];
        assert_eq!(bob(&plan, false), all);
        assert_eq!(bob(&plan, true), all, "a route that somebody wrote means the same everywhere");
        assert!(Viewer { peer: &peer("bob"), alone: true }.mirrored(&plan).is_empty());
    }

    #[test]
    fn what_is_routed_to_nobody_comes_to_who_asks_and_what_is_anothers_does_not() {
        let no_route =
            |id: &str| Output { routes: Vec::new(), ..plan(&[(id, Route::All)]).outputs.remove(0) };
        let outputs = vec![no_route("asked"), no_route("unasked")];
        let plan = Plan { outputs, ..plan(&[]) };
        assert_eq!(bob(&plan, false), ["anna.asked", "robot.asked"]);
        assert_eq!(bob(&plan, true), ["bob.asked", "robot.asked"]);
        let viewer = |name: &str, id: &str| {
            let output = |route| Output { routes: vec![route], ..no_route(id) };
            let annas = output(Route::Peer(peer("anna")));
            Viewer { peer: &peer(name), alone: false }.may(&annas)
        };
        assert_eq!((viewer("anna", "x"), viewer("bob", "x")), (true, false));
        assert!(Viewer { peer: &peer("bob"), alone: false }.may(&no_route("asked")));
    }
}
