/* The kernels' text, inside the programs. Assembled from the top folder. */
	.section .rodata
	.globl	train_ptx, stir_ptx
train_ptx:
	.incbin	"tests/progs/train.ptx"
	.byte	0
stir_ptx:
	.incbin	"tests/progs/mtstream.ptx"
	.byte	0
	.section .note.GNU-stack, "", @progbits
