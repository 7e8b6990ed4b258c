//! The built-in nodes, one a file; and what several of them share: [`Colour`], rows of planes, what is shown of a picture that
//! is stored turned, values that move.

mod adjust;
mod blur;
mod colour;
mod crop;
mod echo;
mod gain;
mod gate;
mod grayscale;
mod high_pass;
mod key;
mod limiter;
mod mirror;
mod overlay;
mod passthrough;
mod ramp;
mod rate;
mod rows;
mod scale;
mod shown;
mod suppress;

pub use adjust::{ColourAdjust, ColourAdjustParams};
pub use blur::{GaussianBlur, GaussianBlurParams};
pub use colour::Colour;
pub use crop::{Crop, CropParams, Unit};
pub use echo::{Echo, EchoParams};
pub use gain::{Gain, GainParams};
pub use gate::{NoiseGate, NoiseGateParams};
pub use grayscale::{Grayscale, GrayscaleParams};
pub use high_pass::{HighPass, HighPassParams};
pub use key::{ChromaKey, ChromaKeyParams};
pub use limiter::{Limiter, LimiterParams};
pub use mirror::{Mirror, MirrorParams};
pub use overlay::{Overlay, OverlayParams, Position, Show};
pub use passthrough::{Passthrough, PassthroughParams};
pub use rate::{FrameRate, FrameRateParams};
pub use scale::{Fit, Scale, ScaleParams};
pub use suppress::{NoiseSuppression, NoiseSuppressionParams};
