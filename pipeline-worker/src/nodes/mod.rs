//! The built-in nodes, one a file.

mod blur;
mod gain;
mod gate;
mod grayscale;
mod overlay;
mod passthrough;
mod suppress;

pub use blur::{GaussianBlur, GaussianBlurParams};
pub use gain::{Gain, GainParams};
pub use gate::{NoiseGate, NoiseGateParams};
pub use grayscale::{Grayscale, GrayscaleParams};
pub use overlay::{Overlay, OverlayParams, Position, Show};
pub use passthrough::{Passthrough, PassthroughParams};
pub use suppress::{NoiseSuppression, NoiseSuppressionParams};
