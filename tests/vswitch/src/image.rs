//! Loads the driver image into this process: maps the sections, applies the base relocations, binds the imports to the
//! functions of the simulation, protects the pages. What then runs is the file that would be installed.
//!
//! Every load is a mapping of its own, so that two worlds can run two images side by side.

use crate::machine::driver_object::DriverEntry;
use crate::symbols;
use object::LittleEndian as LE;
use object::pe::{self, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, ImageThunkData, Import, PeFile64};
use std::path::Path;

/// A mapped image; unmapped on drop, when nothing of it runs any more.
pub struct Image {
    memory: Mapping,
    entry: usize,
    /// Imports that were bound, `module!name`, in the order of the import table.
    pub imports: Vec<String>,
}

const PAGE: usize = 4096;

impl Image {
    /// Maps a driver; the error says what about the file is wrong.
    pub fn load(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes = std::fs::read(path)
            .map_err(|error| format!("cannot read {name}: {error}; build the image with `cargo image`"))?;
        Self::map(&bytes).map_err(|error| format!("{name} is no driver that can be loaded: {error}"))
    }

    fn map(bytes: &[u8]) -> Result<Self, String> {
        let file = PeFile64::parse(bytes).map_err(|error| error.to_string())?;
        let optional = file.nt_headers().optional_header();
        let mut memory = Mapping::new(optional.size_of_image() as usize)?;
        let headers = optional.size_of_headers() as usize;
        memory.write(0, bytes.get(..headers).ok_or("the headers are cut off")?)?;
        for section in file.section_table().iter() {
            let data = section.pe_data(bytes).map_err(|error| error.to_string())?;
            let length = data.len().min(section.virtual_size.get(LE) as usize);
            memory.write(section.virtual_address.get(LE) as usize, &data[..length])?;
        }
        relocate(&file, bytes, &mut memory)?;
        let imports = bind(&file, &mut memory)?;
        for section in file.section_table().iter() {
            let start = section.virtual_address.get(LE) as usize;
            let flags = section.characteristics.get(LE);
            memory.protect(start, section.virtual_size.get(LE) as usize, flags)?;
        }
        let entry = optional.address_of_entry_point() as usize;
        Ok(Self { memory, entry, imports })
    }

    /// `DriverEntry`.
    pub fn entry(&self) -> DriverEntry {
        let address = self.memory.address(self.entry);
        // SAFETY: the address of the image's entry point, which has the type of a driver's.
        unsafe { std::mem::transmute::<*mut u8, DriverEntry>(address) }
    }

    /// Whether an address lies in the image.
    pub fn contains(&self, address: usize) -> bool {
        (self.memory.base as usize..self.memory.base as usize + self.memory.len).contains(&address)
    }
}

/// Adds the distance from the preferred base to every address that the image names.
fn relocate(file: &PeFile64, bytes: &[u8], memory: &mut Mapping) -> Result<(), String> {
    let preferred = file.nt_headers().optional_header().image_base();
    let delta = (memory.base as u64).wrapping_sub(preferred);
    let directories = file.data_directories();
    let blocks =
        directories.relocation_blocks(bytes, &file.section_table()).map_err(|error| error.to_string())?;
    let Some(mut blocks) = blocks else { return Ok(()) };
    while let Some(block) = blocks.next().map_err(|error| error.to_string())? {
        for relocation in block {
            match relocation.typ {
                pe::IMAGE_REL_BASED_ABSOLUTE => {}
                pe::IMAGE_REL_BASED_DIR64 => {
                    let at = relocation.virtual_address as usize;
                    let value = u64::from_le_bytes(memory.read(at)?).wrapping_add(delta);
                    memory.write(at, &value.to_le_bytes())?;
                }
                other => return Err(format!("relocation type {other} is not one of x86-64")),
            }
        }
    }
    Ok(())
}

/// Fills the import address table.
fn bind(file: &PeFile64, memory: &mut Mapping) -> Result<Vec<String>, String> {
    let mut bound = Vec::new();
    let table = file.import_table().map_err(|error| error.to_string())?;
    let Some(table) = table else { return Ok(bound) };
    let mut descriptors = table.descriptors().map_err(|error| error.to_string())?;
    while let Some(descriptor) = descriptors.next().map_err(|error| error.to_string())? {
        let module = table.name(descriptor.name.get(LE)).map_err(|error| error.to_string())?;
        let module = String::from_utf8_lossy(module).into_owned();
        let thunks =
            table.thunks(descriptor.original_first_thunk.get(LE)).map_err(|error| error.to_string())?;
        let mut slot = descriptor.first_thunk.get(LE) as usize;
        let mut thunks = thunks;
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>().map_err(|error| error.to_string())? {
            if thunk.is_ordinal() {
                return Err(format!("{module} is imported from by ordinal {}", thunk.ordinal()));
            }
            let import = table.import::<ImageNtHeaders64>(thunk).map_err(|error| error.to_string())?;
            let Import::Name(_, name) = import else { return Err("an import without a name".into()) };
            let name = String::from_utf8_lossy(name).into_owned();
            let address = symbols::symbol(&name)
                .or_else(|| runtime::symbol(&name))
                .ok_or_else(|| format!("nobody provides {module}!{name}"))?;
            memory.write(slot, &(address as u64).to_le_bytes())?;
            slot += size_of::<u64>();
            bound.push(format!("{module}!{name}"));
        }
    }
    Ok(bound)
}

/// Memory of the image, writable while it is being prepared.
struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to the image; its code runs on any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> Result<Self, String> {
        let len = len.next_multiple_of(PAGE);
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(format!("{len} bytes cannot be mapped: {}", std::io::Error::last_os_error()));
        }
        Ok(Self { base: base.cast(), len })
    }

    fn address(&self, at: usize) -> *mut u8 {
        assert!(at < self.len, "an address of the image lies outside of it");
        // SAFETY: inside the mapping.
        unsafe { self.base.add(at) }
    }

    fn range(&self, at: usize, len: usize) -> Result<*mut u8, String> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        if inside {
            Ok(self.base.wrapping_add(at))
        } else {
            Err(format!("{len} bytes at {at:#x} lie outside"))
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), String> {
        let target = self.range(at, bytes.len())?;
        // SAFETY: inside the mapping, which is still writable.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    fn read<const N: usize>(&self, at: usize) -> Result<[u8; N], String> {
        let source = self.range(at, N)?;
        // SAFETY: inside the mapping.
        Ok(unsafe { source.cast::<[u8; N]>().read_unaligned() })
    }

    /// Gives a section the rights that it asks for and no others.
    fn protect(&mut self, at: usize, len: usize, flags: u32) -> Result<(), String> {
        let right = |flag, right| if flags & flag != 0 { right } else { 0 };
        let protection = right(pe::IMAGE_SCN_MEM_READ, libc::PROT_READ)
            | right(pe::IMAGE_SCN_MEM_WRITE, libc::PROT_WRITE)
            | right(pe::IMAGE_SCN_MEM_EXECUTE, libc::PROT_EXEC);
        let start = self.range(at, len)?;
        // SAFETY: whole pages of the mapping: sections begin on pages.
        let failed = unsafe { libc::mprotect(start.cast(), len.next_multiple_of(PAGE), protection) } != 0;
        if failed {
            Err(format!("a section cannot be protected: {}", std::io::Error::last_os_error()))
        } else {
            Ok(())
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, used by nobody any more.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// Functions that compilers call by themselves; the kernel exports them.
mod runtime {
    use std::ffi::c_void;

    unsafe extern "win64" fn copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: as memcpy's caller promises; memmove's rule is the weaker one.
        unsafe { std::ptr::copy(from, to, count) };
        to
    }

    unsafe extern "win64" fn set(to: *mut u8, value: i32, count: usize) -> *mut u8 {
        // SAFETY: as memset's caller promises; the low byte is what counts.
        unsafe { std::ptr::write_bytes(to, value.to_le_bytes()[0], count) };
        to
    }

    unsafe extern "win64" fn compare(a: *const u8, b: *const u8, count: usize) -> i32 {
        // SAFETY: as memcmp's caller promises.
        let (a, b) = unsafe { (std::slice::from_raw_parts(a, count), std::slice::from_raw_parts(b, count)) };
        a.cmp(b) as i32
    }

    pub fn symbol(name: &str) -> Option<*const c_void> {
        match name {
            "memcpy" | "memmove" => Some(copy as *const c_void),
            "memset" => Some(set as *const c_void),
            "memcmp" => Some(compare as *const c_void),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let wrong = |bytes: &[u8]| Image::map(bytes).err().unwrap();
        assert!(!wrong(b"").is_empty());
        assert!(!wrong(b"MZ and nothing else").is_empty());
        let missing = Image::load(Path::new("no/such/file.sys")).err().unwrap();
        assert!(missing.contains("no/such/file.sys") && missing.contains("cargo image"), "{missing}");
    }

    #[test]
    fn functions_of_the_compiler_do_what_their_names_say() {
        let call = |name| runtime::symbol(name).unwrap();
        // SAFETY: the types of the functions above.
        let copy: unsafe extern "win64" fn(*mut u8, *const u8, usize) -> *mut u8 =
            unsafe { std::mem::transmute(call("memmove")) };
        let mut bytes = *b"abcdef";
        // SAFETY: both ranges lie in the array; they overlap.
        unsafe { copy(bytes.as_mut_ptr().add(2), bytes.as_ptr(), 4) };
        assert_eq!(&bytes, b"ababcd");
        assert!(runtime::symbol("strlen").is_none());
    }
}
