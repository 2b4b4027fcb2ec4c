//! Parts of a trace.
