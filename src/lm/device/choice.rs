//! Where models run, as users name it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use candle_core::utils::{cuda_is_available, metal_is_available};

use crate::lm::error::LmError;

/// Where a [`Decoder`](crate::lm::Decoder) runs.
///
/// Its names are `cpu`, `cuda`, `cuda:N` and `metal`. Graphics cards need a program that was built for
/// them, with the feature `cuda` or `metal`.
///
/// Scores on a graphics card agree with those of the processor to about four decimal places, but are
/// not the same bits, and depend, in the last digits, on what is scored at the same time. Where weights
/// are kept in 16 bits, graphics cards multiply in that type and add in f32, which is several times as
/// fast, and agrees as far as 16 bits go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The graphics card of NVIDIA with this number, counted from 0.
    Cuda(usize),
    /// The graphics processor of an Apple computer.
    Metal,
}

/// Devices in use: opening one again would set up its libraries again.
static OPEN: Mutex<Vec<(DeviceChoice, Device)>> = Mutex::new(Vec::new());

impl DeviceChoice {
    /// The device, which stays open as long as the program runs.
    ///
    /// # Errors
    ///
    /// A device that this program was not built for, or that is not there.
    pub fn open(self) -> Result<Device, LmError> {
        let (is_built, name, feature) = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(_) => (cuda_is_available(), "CUDA", "cuda"),
            Self::Metal => (metal_is_available(), "Metal", "metal"),
        };
        if !is_built {
            return Err(LmError::DeviceNotBuilt { device: self, name, feature });
        }
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, device)) = open.iter().find(|(choice, _)| *choice == self) {
            return Ok(device.clone());
        }
        let opened = match self {
            Self::Cuda(number) => Device::new_cuda(number),
            _ => Device::new_metal(0),
        };
        let device =
            opened.map_err(|source| LmError::DeviceUnavailable { device: self, source })?;
        open.push((self, device.clone()));
        Ok(device)
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = name.strip_prefix("cuda:").map(str::parse);
        match (name, number) {
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(number))) => Ok(Self::Cuda(number)),
            ("metal", _) => Ok(Self::Metal),
            _ => Err("should be `cpu`, `cuda`, `cuda:N` or `metal`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let choices = [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(3)];
        for choice in choices.into_iter().chain([DeviceChoice::Metal]) {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceChoice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "metal:0"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn what_is_missing_is_named() {
        let error = DeviceChoice::Cuda(1).open().expect_err("not built");
        assert_eq!(
            error.to_string(),
            "cannot run models on `cuda:1`, because this program was built without CUDA"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("--features cuda")));
        assert!(error.is_users_mistake());
    }
}
