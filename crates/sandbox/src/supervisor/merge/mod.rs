//! Adjacent layers made one, so that stacks don't grow without end.

#[cfg(test)]
mod against_kernel;
mod build;
mod lookup;
mod marks;

pub(crate) use build::merge;
pub(crate) use marks::Marks;
