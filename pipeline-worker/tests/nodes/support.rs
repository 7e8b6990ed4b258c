//! Pictures and sound to test with, and chains of nodes by name.

use remotemedia_pipeline_worker::graph::{Chain, Failure, Passed, Step, build};
use remotemedia_pipeline_worker::node::Moment;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::manifest::Faults;
use remotemedia_shm_schema::{AudioGeometry, NodeId, VideoGeometry};
use remotemedia_worker::{Picture, PictureMut};

/// What fills the memory around a picture.
pub(crate) const OUTSIDE: u8 = 0xa5;

pub(crate) fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

/// A chain of `(id, type, params)`.
pub(crate) fn try_chain(
    nodes: &[(&str, &str, &str)],
    registry: &Registry,
) -> Result<Chain, Faults> {
    let nodes: Vec<GraphNode> = nodes
        .iter()
        .zip(0u8..)
        .map(|((name, kind, params), number)| GraphNode {
            id: id(name),
            number,
            kind: (*kind).into(),
            params: (*params).into(),
            on_failure: OnFailure::Hold,
        })
        .collect();
    build(registry, &nodes)
}

pub(crate) fn chain(nodes: &[(&str, &str, &str)]) -> Chain {
    try_chain(nodes, &Registry::built_in()).unwrap_or_else(|fault| panic!("{fault}"))
}

/// A picture with memory of its own.
#[derive(Clone, PartialEq)]
pub(crate) struct Image {
    pub(crate) geometry: VideoGeometry,
    pub(crate) payload: Vec<u8>,
}

impl Image {
    pub(crate) fn blank(geometry: VideoGeometry) -> Self {
        let last = geometry.planes[2];
        let rows = geometry.plane_size(2).1 as usize;
        let length = last.offset as usize + last.stride as usize * rows;
        Self { geometry, payload: vec![OUTSIDE; length + 7] }
    }

    /// A scene: sky with a gradient, a sun, a fence of hard edges, grass of noise; in colour.
    pub(crate) fn scene(geometry: VideoGeometry) -> Self {
        let mut image = Self::blank(geometry);
        let mut noise = Noise(7);
        for plane in 0..3 {
            let (width, height) = geometry.plane_size(plane);
            let (w, h) = (width as f32, height as f32);
            image.fill(plane, |x, y| {
                let (u, v) = (x as f32 / w, y as f32 / h);
                let sun = (u - 0.7).powi(2) + (v - 0.3).powi(2) < 0.02;
                let fence = v > 0.5 && v < 0.7 && (u * 16.0).fract() < 0.5;
                match plane {
                    0 if sun => 230,
                    0 if fence => 40,
                    0 if v > 0.7 => (110.0 + 80.0 * noise.next()) as u8,
                    0 => (180.0 - 80.0 * v) as u8,
                    1 => (90.0 + 60.0 * u) as u8,
                    _ => (160.0 - 50.0 * v) as u8,
                }
            });
        }
        image
    }

    pub(crate) fn fill(&mut self, plane: usize, mut value: impl FnMut(usize, usize) -> u8) {
        let mut picture = PictureMut::over(&mut self.payload, self.geometry).unwrap();
        for (y, row) in picture.rows_mut(plane).enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                *sample = value(x, y);
            }
        }
    }

    pub(crate) fn picture(&self) -> Picture<'_> {
        Picture::over(&self.payload, self.geometry).unwrap()
    }

    /// A plane's samples without what lies between rows.
    pub(crate) fn plane(&self, plane: usize) -> Vec<u8> {
        self.picture().rows(plane).flatten().copied().collect()
    }

    /// A picture of one colour.
    pub(crate) fn flat(geometry: VideoGeometry, yuv: [u8; 3]) -> Self {
        let mut image = Self::blank(geometry);
        for (plane, value) in yuv.into_iter().enumerate() {
            image.fill(plane, |_, _| value);
        }
        image
    }

    /// A sample of a plane.
    pub(crate) fn at(&self, plane: usize, x: usize, y: usize) -> u8 {
        self.picture().rows(plane).nth(y).unwrap()[x]
    }

    /// The greatest difference of any two samples, where both pictures have one size.
    pub(crate) fn worst(&self, other: &Self, plane: usize) -> u8 {
        let (own, others) = (self.plane(plane), other.plane(plane));
        assert_eq!(own.len(), others.len());
        own.iter().zip(&others).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    pub(crate) fn mean(&self, plane: usize) -> f64 {
        let samples = self.plane(plane);
        samples.iter().map(|s| f64::from(*s)).sum::<f64>() / samples.len() as f64
    }

    /// Mean square of the difference between neighbours in a row: what a blur takes away.
    pub(crate) fn detail(&self) -> f64 {
        let rows: Vec<&[u8]> = self.picture().rows(0).collect();
        let (mut sum, mut count) = (0.0, 0.0);
        for row in rows {
            for pair in row.windows(2) {
                sum += (f64::from(pair[0]) - f64::from(pair[1])).powi(2);
                count += 1.0;
            }
        }
        sum / count
    }

    /// Whether every byte around the planes is as it was made.
    pub(crate) fn outside_untouched(&self) -> bool {
        let mut bytes = self.payload.clone();
        let mut picture = PictureMut::over(&mut bytes, self.geometry).unwrap();
        for plane in 0..3 {
            picture.rows_mut(plane).for_each(|row| row.fill(OUTSIDE));
        }
        bytes.iter().all(|b| *b == OUTSIDE)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.geometry.width, self.geometry.height)
    }
}

/// Strides and gaps other than our own workers would choose.
pub(crate) fn odd_layout(width: u16, height: u16, pads: [u32; 3], gap: u32) -> VideoGeometry {
    let mut geometry = VideoGeometry::i420(width, height);
    let mut offset = gap;
    for (index, pad) in pads.into_iter().enumerate() {
        let (columns, rows) = geometry.plane_size(index);
        geometry.planes[index].offset = offset;
        geometry.planes[index].stride = columns + pad;
        offset += (columns + pad) * rows + gap;
    }
    geometry.stride_alignment = 1;
    geometry
}

/// The picture as a camera stores it that is held so: turned clockwise by so many degrees, it is this one. Of even size.
pub(crate) fn stored(shown: &Image, rotation: u16) -> Image {
    let (wide, high) = (shown.geometry.width, shown.geometry.height);
    let (width, height) = if rotation.is_multiple_of(180) { (wide, high) } else { (high, wide) };
    let geometry = VideoGeometry { rotation, ..VideoGeometry::i420(width, height) };
    let mut image = Image::blank(geometry);
    for plane in 0..3 {
        let (width, height) = geometry.plane_size(plane);
        let (width, height) = (width as usize, height as usize);
        image.fill(plane, |x, y| match rotation {
            90 => shown.at(plane, height - 1 - y, x),
            180 => shown.at(plane, width - 1 - x, height - 1 - y),
            270 => shown.at(plane, y, width - 1 - x),
            _ => shown.at(plane, x, y),
        });
    }
    image
}

/// What came out, and what the chain said about it.
pub(crate) struct Done {
    pub(crate) image: Image,
    pub(crate) copied: u64,
    pub(crate) stamps: Vec<u8>,
}

pub(crate) fn try_pass(
    chain: &mut Chain,
    input: &Image,
    to: VideoGeometry,
) -> Result<Done, Failure> {
    let moment = Moment { sequence: 42, media_time_ns: 0, unix_ns: 45_296_789 * 1_000_000 };
    let mut image = Image::blank(to);
    let mut stamps = Vec::new();
    let mut loan = PictureMut::over(&mut image.payload, to).unwrap();
    let copied =
        chain.picture(&input.picture(), &mut loan, &moment, &mut |step| left(step, &mut stamps))?;
    Ok(Done { image, copied, stamps })
}

pub(crate) fn pass(chain: &mut Chain, input: &Image) -> Done {
    let size = chain.shape(Passed::default(), input.geometry);
    size.and_then(|size| try_pass(chain, input, size)).unwrap_or_else(|failure| panic!("{failure}"))
}

/// One picture through one node.
pub(crate) fn through(kind: &str, params: &str, input: &Image) -> Image {
    pass(&mut chain(&[("node", kind, params)]), input).image
}

pub(crate) fn mono(samples: usize) -> AudioGeometry {
    AudioGeometry { rate: 48_000, channels: 1, samples: samples as u32 }
}

/// A block of mono sound through a chain.
pub(crate) fn hear(chain: &mut Chain, input: &[f32]) -> Vec<f32> {
    hear_as(chain, mono(input.len()), input)
}

pub(crate) fn hear_as(chain: &mut Chain, geometry: AudioGeometry, input: &[f32]) -> Vec<f32> {
    let mut output = vec![f32::NAN; input.len()];
    chain
        .sound(geometry, input, &mut output, &mut |_| {})
        .unwrap_or_else(|failure| panic!("{failure}"));
    output
}

/// A long sound in blocks.
pub(crate) fn hear_all(chain: &mut Chain, input: &[f32], block: usize) -> Vec<f32> {
    input.chunks_exact(block).flat_map(|b| hear(chain, b)).collect()
}

pub(crate) fn rms(samples: &[f32]) -> f64 {
    (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

pub(crate) fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// What a fan or a street sounds like, the same every time. (White noise, which no room has, is not what the network
/// learned: it takes 1 dB of it.)
pub(crate) fn room(seconds: usize, loud: f32) -> Vec<f32> {
    let (mut noise, mut low) = (Noise(5), 0.0);
    (0..seconds * 48_000)
        .map(|_| {
            low = 0.9 * low + 0.4 * loud * noise.next();
            low
        })
        .collect()
}

/// Even noise between -1 and 1, the same every time.
pub(crate) struct Noise(pub(crate) u32);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Takes down which nodes are done, in their order.
pub(crate) fn left(step: Step<'_>, into: &mut Vec<u8>) {
    if let Step::Leaves(number) = step {
        into.push(number);
    }
}
