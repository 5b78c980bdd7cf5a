/* kernels.S - the PTX text inside the programs: no file is looked for at run time. */
	.section .rodata
	.globl kernels_ptx
kernels_ptx:
	.incbin "tests/progs/kernels.ptx"
	.byte 0
	.section .note.GNU-stack, "", @progbits
