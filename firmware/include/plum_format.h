/* Written by python -m plum_hw.soc.export from plum_hw/soc/format.py; do not edit. */
#ifndef PLUM_FORMAT_H
#define PLUM_FORMAT_H

#define PLUM_FORMAT_VERSION 1u
#define PLUM_MAX_ENTRIES 64u
#define PLUM_MAX_HEADER_BYTES 1048576u
#define PLUM_NAME_BYTES 32u
#define PLUM_ZEROS 0xffffffffu
#define PLUM_PLACE_BITS 24u
#define PLUM_SLOT_MAGIC 0x4c534c50u
#define PLUM_NETWORK_MAGIC 0x544e4c50u
#define PLUM_IMAGES_MAGIC 0x4d494c50u

#define PLUM_KIND_NETWORK 0x5754454eu
#define PLUM_KIND_IMAGES 0x53474d49u
#define PLUM_OUTPUT_LOGITS 0u
#define PLUM_OUTPUT_MAP 1u
#define PLUM_STEP_LOAD 1u
#define PLUM_STEP_INPUT 2u
#define PLUM_STEP_RUN 3u
#define PLUM_STEP_RESULTS 4u
#define PLUM_STEP_GATHER 5u

/* Header of a slot. The directory follows, then the CRC-32 of both. By index of the word. */
#define PLUM_SLOT__MAGIC 0u /* "PLSL" */
#define PLUM_SLOT__VERSION 1u /* of the format */
#define PLUM_SLOT__HEADER_BYTES 2u /* of header, directory and CRC */
#define PLUM_SLOT__TOTAL_BYTES 3u /* of the whole slot, as far as it is used */
#define PLUM_SLOT__SEQUENCE 4u /* of two good slots the one with the higher number is booted */
#define PLUM_SLOT__ENTRIES 5u /* of the directory */
#define PLUM_SLOT__WORDS 6u

/* Directory: one section. By index of the word. */
#define PLUM_ENTRY__KIND 0u /* "NETW" or "IMGS" */
#define PLUM_ENTRY__OFFSET 1u /* where it begins in the slot */
#define PLUM_ENTRY__BYTES 2u /* how long it is */
#define PLUM_ENTRY__CRC 3u /* CRC-32 of all of it */
#define PLUM_ENTRY__NAME 4u /* ASCII, ended by a zero byte */
#define PLUM_ENTRY__WORDS 12u

/* Header of a network. Steps, runs and labels follow, then the CRC-32 of all. By index of the word. */
#define PLUM_NETWORK__MAGIC 0u /* "PLNT" */
#define PLUM_NETWORK__VERSION 1u /* of the format */
#define PLUM_NETWORK__HEADER_BYTES 2u /* of header, steps, runs, labels and CRC */
#define PLUM_NETWORK__CLUSTERS 3u /* of the array */
#define PLUM_NETWORK__ARRAY 4u /* digest of the array that it was compiled for */
#define PLUM_NETWORK__SOURCE 8u /* SHA-256 of the network file */
#define PLUM_NETWORK__CHANNELS 16u /* of an image */
#define PLUM_NETWORK__HEIGHT 17u /* of an image */
#define PLUM_NETWORK__WIDTH 18u /* of an image */
#define PLUM_NETWORK__BITS 19u /* of a pixel, which is a byte */
#define PLUM_NETWORK__OUTPUT 20u /* kind of the output: 0 logits, 1 a map of bytes */
#define PLUM_NETWORK__OUT_CHANNELS 21u /* of the output */
#define PLUM_NETWORK__OUT_HEIGHT 22u /* of the output */
#define PLUM_NETWORK__OUT_WIDTH 23u /* of the output */
#define PLUM_NETWORK__CYCLES 24u /* predicted cycles of an image, low half first */
#define PLUM_NETWORK__STEPS 26u /* where the steps begin */
#define PLUM_NETWORK__STEP_COUNT 27u /* how many there are */
#define PLUM_NETWORK__SETUP_COUNT 28u /* how many of them, the first ones, are done once and not an image */
#define PLUM_NETWORK__LABELS 29u /* where the labels begin: strings, each ended by a zero byte */
#define PLUM_NETWORK__LABEL_BYTES 30u /* their bytes, a multiple of four; 0: there are none */
#define PLUM_NETWORK__LABEL_COUNT 31u /* how many there are: one an output, or none */
#define PLUM_NETWORK__WORDS 32u

/* A step of a network. By index of the word. */
#define PLUM_STEP__KIND 0u /* LOAD, INPUT, RUN, RESULTS or GATHER */
#define PLUM_STEP__TARGETS 1u /* bit c: for cluster c */
#define PLUM_STEP__SPACE 2u /* LOAD: the memory */
#define PLUM_STEP__ADDRESS 3u /* word of the memory */
#define PLUM_STEP__COUNT 4u /* LOAD: 32-bit words; INPUT, GATHER: runs; RUN: layers; RESULTS: words */
#define PLUM_STEP__BYTES 5u /* INPUT: written, a multiple of 8; GATHER: appended; else 0 */
#define PLUM_STEP__DATA 6u /* LOAD: where its words are; INPUT, GATHER: where its runs are */
#define PLUM_STEP__CRC 7u /* LOAD: of its words */
#define PLUM_STEP__WORDS 8u

/* Bytes that are a step apart in their source: the compact form of a map of places. By index of the word. */
#define PLUM_RUN__LENGTH 0u /* bytes */
#define PLUM_RUN__FIRST 1u /* place of the first one, and from bit 24 on zeros behind; all 1: all zeros */
#define PLUM_RUN__STRIDE 2u /* from one to the next, two's complement */
#define PLUM_RUN__WORDS 3u

/* Header of images. Their CRCs, labels and expected outputs follow, then the CRC-32 of all. By index of the word. */
#define PLUM_IMAGES__MAGIC 0u /* "PLIM" */
#define PLUM_IMAGES__VERSION 1u /* of the format */
#define PLUM_IMAGES__HEADER_BYTES 2u /* of header, tables and CRC */
#define PLUM_IMAGES__COUNT 3u /* how many images */
#define PLUM_IMAGES__CHANNELS 4u /* of an image */
#define PLUM_IMAGES__HEIGHT 5u /* of an image */
#define PLUM_IMAGES__WIDTH 6u /* of an image */
#define PLUM_IMAGES__PITCH 7u /* bytes from one image to the next, a multiple of four; (C, H, W) order */
#define PLUM_IMAGES__DATA 8u /* where the first image begins */
#define PLUM_IMAGES__CRCS 9u /* where the table of CRC-32 begins: one an image, over PITCH bytes */
#define PLUM_IMAGES__LABELS 10u /* where the table of classes begins; 0: they are not known */
#define PLUM_IMAGES__EXPECTED 11u /* where the CRC-32 of each output that is expected begins; 0: none */
#define PLUM_IMAGES__WORDS 12u

#endif
