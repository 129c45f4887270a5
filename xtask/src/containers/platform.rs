//! The platforms that images are built for.

use pi_image::compile::Target;

/// A platform that images run on. `TARGETPLATFORM` is what `docker build` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Platform {
    pub(crate) name: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) variant: Option<&'static str>,
    pub(crate) target: Target,
    /// Names a program to take instead of one that is compiled.
    pub(crate) variable: &'static str,
    /// The machine in the program's ELF header.
    pub(crate) machine: u8,
}

/// Swarm finds "no suitable node" among Pis if their platform is missing in the list.
pub(crate) const PLATFORMS: &[Platform] = &[
    Platform {
        name: "linux/amd64",
        architecture: "amd64",
        variant: None,
        target: Target::Amd64,
        variable: "BRAMBLE_BINARY_AMD64",
        machine: 62,
    },
    Platform {
        name: "linux/arm/v7",
        architecture: "arm",
        variant: Some("v7"),
        target: Target::Armv7,
        variable: "BRAMBLE_BINARY_ARMV7",
        machine: 40,
    },
];
