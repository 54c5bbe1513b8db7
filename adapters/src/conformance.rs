//! What every messenger must do the same way, as checks that run against each adapter's real server or stand-in.
//!
//! A messenger's tests implement [`World`] and call [`all`].
