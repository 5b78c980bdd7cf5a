/* kernels.S - the PTX text inside the programs: no file is looked for at run time. */
	.section .rodata
	.globl gpu_kernels_ptx
gpu_kernels_ptx:
	.incbin "tests/gpu/kernels.ptx"
	.byte 0
	.section .note.GNU-stack, "", @progbits
