//! The only reads of kernel memory.
//!
//! A [`Ptr`] is a pointer into a kernel structure; a field is read at the offset that the loader found in
//! BTF. `OFFSETS` is frozen before load, so the verifier sees a constant and, for an absent field, removes
//! the branch.

use core::{marker::PhantomData, mem::MaybeUninit, ptr};

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_kernel};
use dropwatch_common::{config::ABSENT, fields::Field};

use crate::maps::OFFSETS;

/// An integer that can be read from the kernel; 0 stands for "not readable".
pub trait Word: Copy {
    /// Nothing.
    const ZERO: Self;
}

macro_rules! words {
    ($($ty:ty),*) => { $(impl Word for $ty { const ZERO: Self = 0; })* };
}
words!(u8, u16, u32, u64, i32);

/// How memory is read.
pub trait Mem {
    /// Reads a `T` at `address`; zero when that faults.
    fn load<T: Word>(address: *const u8) -> T;
}

/// Plain loads through pointers whose type the verifier knows. A fault reads as zero.
pub struct Direct;

/// `bpf_probe_read_kernel`, for pointers that the verifier takes for numbers.
pub struct Probe;

impl Mem for Direct {
    #[inline(always)]
    fn load<T: Word>(address: *const u8) -> T {
        // SAFETY: the verifier admits this load only for a typed kernel pointer with a known offset, and
        // the kernel turns a fault into zero. Volatile, so that LLVM neither merges nor widens it.
        unsafe { ptr::read_volatile(address.cast::<T>()) }
    }
}

impl Mem for Probe {
    #[inline(always)]
    fn load<T: Word>(address: *const u8) -> T {
        let mut value = T::ZERO;
        probe(address, &raw mut value as *mut u8, size_of::<T>() as u32);
        value
    }
}

/// Copies `len` bytes from kernel address `address`; false when that faults (`to` is zeroed then).
#[inline(always)]
pub fn probe(address: *const u8, to: *mut u8, len: u32) -> bool {
    // SAFETY: the helper checks the source itself; `to` has room for `len` bytes at every caller, and the
    // verifier checks that too.
    unsafe { bpf_probe_read_kernel(to.cast::<c_void>(), len, address.cast::<c_void>()) == 0 }
}

/// A value of words only, which may be zeroed and copied word by word.
///
/// # Safety
///
/// Any bytes are a valid value, there is no padding, and size and alignment are divisible by eight.
pub unsafe trait Words {}

/// Zeroes a value on the stack. An initialiser would become a call of memset, and no program may call another: kernels
/// before 6.5 (without 0108a4e9f358, "ensure main program has an extable") crash when a load of such a program faults.
#[inline(always)]
pub fn zero<T: Words>(place: &mut MaybeUninit<T>) -> &mut T {
    let words = place.as_mut_ptr().cast::<u64>();
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: inside the value, by `Words`. Volatile, so that it stays what it is.
        unsafe { words.add(at).write_volatile(0) };
    }
    // SAFETY: zeroes are a valid value, by `Words`.
    unsafe { place.assume_init_mut() }
}

/// Copies a value word by word, for the same reason.
#[inline(always)]
pub fn copy_words<T: Words>(from: &T, to: &mut T) {
    let (from, to) = (
        ptr::from_ref(from).cast::<u64>(),
        ptr::from_mut(to).cast::<u64>(),
    );
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: inside both values, by `Words`.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
}

/// Copies bytes from map memory. By helper: as a plain assignment it becomes a call that moves byte by byte, which
/// costs the verifier more than the helper costs us.
#[inline(always)]
pub fn copy<const N: usize>(from: &[u8; N], to: &mut [u8; N]) {
    probe(from.as_ptr(), to.as_mut_ptr(), N as u32);
}

/// Offset of a field in bytes, or [`ABSENT`].
#[inline(always)]
fn offset(field: Field) -> u32 {
    // SAFETY: in bounds, since `Field` indexes `FIELDS`; volatile, since the loader changes the value.
    unsafe { ptr::read_volatile((&raw const OFFSETS).cast::<u32>().add(field as usize)) }
}

/// A pointer to a kernel structure.
pub struct Ptr<M: Mem>(*const u8, PhantomData<M>);

impl<M: Mem> Clone for Ptr<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Mem> Copy for Ptr<M> {}

impl<M: Mem> Ptr<M> {
    /// No structure.
    pub const NULL: Self = Self(ptr::null(), PhantomData);

    /// The pointer in a register.
    #[inline(always)]
    pub fn new(register: u64) -> Self {
        Self(register as *const u8, PhantomData)
    }

    /// Whether it is NULL.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Its value, as an identity.
    #[inline(always)]
    pub fn id(self) -> u64 {
        self.0 as u64
    }

    /// Reads a field; zero when absent or not readable.
    #[inline(always)]
    pub fn get<T: Word>(self, field: Field) -> T {
        self.at(field, 0)
    }

    /// Reads a `T` that lies `extra` bytes into a field.
    #[inline(always)]
    pub fn at<T: Word>(self, field: Field, extra: u32) -> T {
        let offset = offset(field);
        if offset == ABSENT {
            return T::ZERO;
        }
        M::load(self.0.wrapping_add((offset + extra) as usize))
    }

    /// Where a field lies, `extra` bytes further; `None` when absent.
    #[inline(always)]
    pub fn address(self, field: Field, extra: u32) -> Option<Self> {
        let offset = offset(field);
        (offset != ABSENT)
            .then(|| Self(self.0.wrapping_add((offset + extra) as usize), PhantomData))
    }

    /// The structure that this pointer, `extra` bytes into a field of it, lies in; `None` when absent.
    #[inline(always)]
    pub fn back(self, field: Field, extra: u32) -> Option<Self> {
        let offset = offset(field);
        (offset != ABSENT)
            .then(|| Self(self.0.wrapping_sub((offset + extra) as usize), PhantomData))
    }

    /// The pointer itself.
    #[inline(always)]
    pub fn raw(self) -> *const u8 {
        self.0
    }

    /// Follows a pointer field.
    #[inline(always)]
    pub fn follow(self, field: Field) -> Self {
        Self::new(self.get::<u64>(field))
    }

    /// Reads a 16-byte name as two words.
    #[inline(always)]
    pub fn name(self, field: Field) -> [u64; 2] {
        [self.at(field, 0), self.at(field, 8)]
    }
}
