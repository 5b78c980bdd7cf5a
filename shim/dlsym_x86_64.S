/* dlsym and dlopen, entered by a tail jump: glibc looks at the return address to find the caller's
 * namespace, RUNPATH and RTLD_NEXT, so the real function must see the program's, not ours. A C wrapper
 * would keep a frame of its own at -O0 or with --coverage.
 */
#define CK_DOORS 256 /* as in hook.c */
	.text

/* %rsi -> symbol name. Ours only if it reads cu[A-Z]...; cuDNN's and cuBLAS's own begin otherwise. */
	.globl	dlsym
	.type	dlsym, @function
dlsym:
	endbr64
	test	%rsi, %rsi
	je	1f
	cmpb	$'c', (%rsi)
	jne	1f
	cmpb	$'u', 1(%rsi)
	jne	1f
	movzbl	2(%rsi), %eax
	subl	$'A', %eax
	cmpl	$25, %eax
	jbe	ck_hook_dlsym
1:	movq	ck_real_dlsym(%rip), %rax
	test	%rax, %rax
	je	2f
	jmp	*%rax
2:	push	%rdi
	push	%rsi
	sub	$8, %rsp
	call	ck_hook_resolve
	add	$8, %rsp
	pop	%rsi
	pop	%rdi
	jmp	*ck_real_dlsym(%rip)
	.size	dlsym, . - dlsym

/* RTLD_DEEPBIND (8) would let a library bind past us; it is taken out, with a line in the log. */
	.globl	dlopen
	.type	dlopen, @function
dlopen:
	endbr64
	cmpq	$0, ck_real_dlopen(%rip)
	je	3f
	testl	$8, %esi
	jne	3f
	jmp	*ck_real_dlopen(%rip)
3:	push	%rdi
	push	%rsi
	sub	$8, %rsp
	call	ck_hook_resolve
	mov	8(%rsp), %rsi
	mov	16(%rsp), %rdi
	call	ck_hook_deepbind
	add	$8, %rsp
	pop	%rsi
	pop	%rdi
	mov	%eax, %esi
	jmp	*ck_real_dlopen(%rip)
	.size	dlopen, . - dlopen

/* Doors for driver entries that the table does not know: each notes that it was used and goes on to the
 * driver. Being asked for is not being used: runtimes ask for everything when they start. */
	.globl	ck_hook_door
	.hidden	ck_hook_door
	.type	ck_hook_door, @function
	.balign	32
ck_hook_door:
	.set	i, 0
	.rept	CK_DOORS
	.balign	32
	endbr64
	movb	$1, ck_door_used + i(%rip)
	jmp	*ck_door_target + 8 * i(%rip)
	.set	i, i + 1
	.endr
	.size	ck_hook_door, . - ck_hook_door

	.section .note.GNU-stack, "", @progbits
