//! A file's frame: schema, page headers and footer, as the `parquet` crate writes them.
//!
//! The columns' pages are ours ([`super::builder`]): their values are cut from entries that were never
//! parsed, which the crate's own column writers could not take at half the speed.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnDescPtr, TypePtr};

use super::builder::Pages;
use super::columns::{COLUMNS, ColumnType};

/// The key under which the footer names the log.
pub(crate) const ORIGIN_KEY: &str = "bailiwick.origin";
/// What files say they were written by: readers look for a name and a version.
const WRITTEN_BY: &str = "bailiwick version 1.0.0";
/// Level 3 takes twice the time for two per cent.
const LEVEL: i32 = 1;

/// The whole file.
pub(crate) fn file(origin: &str, rows: usize, columns: &[Pages]) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(WRITTEN_BY.to_owned())
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            ORIGIN_KEY.to_owned(),
            origin.to_owned(),
        )]))
        .build();
    let mut compressor =
        zstd::bulk::Compressor::new(LEVEL).map_err(|error| ParquetError::External(error.into()))?;
    let mut file = SerializedFileWriter::new(Vec::new(), schema()?, Arc::new(properties))?;
    let descriptors: Vec<ColumnDescPtr> = file.schema_descr().columns().to_vec();
    let mut group = file.next_row_group()?;
    for (descriptor, pages) in descriptors.into_iter().zip(columns) {
        let (bytes, close) = chunk(descriptor, rows, pages, &mut compressor)?;
        group.append_column(&bytes, close)?;
    }
    group.close()?;
    file.into_inner()
}

/// The schema of every file.
fn schema() -> Result<TypePtr, ParquetError> {
    let columns = COLUMNS.iter().map(|column| {
        let name = column.name();
        let repetition = if column.is_required() { "required" } else { "optional" };
        match column.kind() {
            ColumnType::Text => format!("{repetition} binary {name} (STRING);"),
            ColumnType::Texts | ColumnType::Objects => {
                format!("optional group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}")
            }
            ColumnType::Int32 => format!("{repetition} int32 {name};"),
            ColumnType::Int64 => format!("{repetition} int64 {name};"),
            ColumnType::Flag => format!("{repetition} boolean {name};"),
            ColumnType::Time => format!("{repetition} int64 {name} (TIMESTAMP(MICROS, true));"),
        }
    });
    let message = format!("message event {{ {} }}", columns.collect::<Vec<_>>().join(" "));
    parse_message_type(&message).map(Arc::new)
}

/// One column's chunk, as if it were a file of its own.
fn chunk(
    descriptor: ColumnDescPtr,
    rows: usize,
    pages: &Pages,
    compressor: &mut zstd::bulk::Compressor<'_>,
) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
    let mut squeeze = |bytes: &[u8]| {
        let squeezed = compressor.compress(bytes);
        squeezed.map_err(|error| ParquetError::External(error.into()))
    };
    let dictionary = pages.dictionary.as_ref().map(|(bytes, _)| bytes.as_slice());
    let squeezed_dictionary = dictionary.map(&mut squeeze).transpose()?;
    let squeezed_data = squeeze(&pages.data)?;
    let plain_bytes = pages.data.len() + dictionary.map_or(0, <[u8]>::len);
    let squeezed_bytes = squeezed_data.len() + squeezed_dictionary.as_ref().map_or(0, Vec::len);
    let is_squeezed = squeezed_bytes < plain_bytes;
    let choose =
        |plain: &[u8], squeezed: Vec<u8>| Bytes::from(if is_squeezed { squeezed } else { plain.to_vec() });

    let mut out = TrackedWrite::new(Vec::new());
    let mut writer = SerializedPageWriter::new(&mut out);
    let (mut uncompressed, mut data_at, mut dictionary_at) = (0, 0, None);
    let mut encodings = vec![Encoding::RLE, pages.encoding];
    if let (Some((bytes, values)), Some(squeezed)) = (&pages.dictionary, squeezed_dictionary) {
        let page = Page::DictionaryPage {
            buf: choose(bytes, squeezed),
            num_values: narrow(*values),
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let written = writer.write_page(CompressedPage::new(page, bytes.len()))?;
        encodings.push(Encoding::PLAIN);
        dictionary_at = Some(0);
        data_at = written.bytes_written;
        uncompressed += written.uncompressed_size;
    }
    let page = Page::DataPage {
        buf: choose(&pages.data, squeezed_data),
        num_values: narrow(pages.levels),
        encoding: pages.encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    let written = writer.write_page(CompressedPage::new(page, pages.data.len()))?;
    uncompressed += written.uncompressed_size;
    let bytes = Bytes::from(out.into_inner()?);

    let mut metadata = ColumnChunkMetaData::builder(descriptor)
        .set_compression(if is_squeezed {
            Compression::ZSTD(Default::default())
        } else {
            Compression::UNCOMPRESSED
        })
        .set_encodings(encodings)
        .set_num_values(wide(pages.levels))
        .set_total_compressed_size(wide(bytes.len()))
        .set_total_uncompressed_size(wide(uncompressed))
        .set_dictionary_page_offset(dictionary_at)
        .set_data_page_offset(i64::try_from(data_at).unwrap_or(i64::MAX));
    if let Some((least, most)) = pages.bounds {
        metadata = metadata.set_statistics(Statistics::new(Some(least), Some(most), None, None, false));
    }
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows as u64,
        metadata: metadata.build()?,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    Ok((bytes, close))
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a file has far fewer values")
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).expect("a file has far fewer bytes")
}
