//! dropwatch's eBPF programs.
//!
//! One generic body per hook, thin entry points per flavour: see [`hooks`]. The loader decides which entry
//! point to load and fills the globals in [`maps`] before.
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "a value given to a map by itself is copied on the stack of 512 bytes"
)]
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod call;
mod emit;
mod filter;
mod flows;
mod hooks;
mod kread;
mod maps;
mod parse;
mod skb;
mod tally;

/// The helpers used are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No panic survives in a verified program; the verifier would reject a reachable loop.
    loop {}
}
