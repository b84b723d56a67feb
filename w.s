





	.text
	.file	"kernels"
	.section	.rodata.cst32,"aM",@progbits,32
	.p2align	5, 0x0                          
.LCPI0_0:
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.byte	0                               
	.byte	255                             
	.section	.rodata.cst4,"aM",@progbits,4
	.p2align	2, 0x0
.LCPI0_1:
	.long	252645135                       
	.section	.rodata,"a",@progbits
	.p2align	1, 0x0
.LCPI0_2:
	.byte	255                             
	.byte	0                               
	.text
	.hidden	rsr_m0_lut_avx2
	.globl	rsr_m0_lut_avx2
	.p2align	4, 0x90
	.type	rsr_m0_lut_avx2,@function
rsr_m0_lut_avx2:                        
	.cfi_startproc

	pushq	%rbp
	.cfi_def_cfa_offset 16
	pushq	%r15
	.cfi_def_cfa_offset 24
	pushq	%r14
	.cfi_def_cfa_offset 32
	pushq	%r13
	.cfi_def_cfa_offset 40
	pushq	%r12
	.cfi_def_cfa_offset 48
	pushq	%rbx
	.cfi_def_cfa_offset 56
	subq	$72, %rsp
	.cfi_def_cfa_offset 128
	.cfi_offset %rbx, -56
	.cfi_offset %r12, -48
	.cfi_offset %r13, -40
	.cfi_offset %r14, -32
	.cfi_offset %r15, -24
	.cfi_offset %rbp, -16
	movq	%rdx, -40(%rsp)                 
	movq	136(%rsp), %r11
	movq	128(%rsp), %rax
	movq	8(%r9), %r10
	movl	%r8d, %r8d
	movl	(%rax), %ebx
	movl	4(%rax), %edx
	movl	16(%rax), %eax
	cmpq	$80, %rdx
	movl	$80, %r14d
	cmovlq	%rdx, %r14
	movq	%r14, -24(%rsp)                 
	xorl	%ebp, %ebp
	cmpq	$5, %r8
	cmovgeq	%rbp, %rax
	movq	%rax, -72(%rsp)                 
	addq	$64, %rdi
	movq	%rdi, -112(%rsp)                
	leaq	109568(%r11), %rax
	shlq	$2, %rcx
	movq	%rcx, -8(%rsp)                  
	movq	%rbx, -120(%rsp)                
	imulq	$17120, %rbx, %rcx              
	addq	(%r9), %rcx
	movq	%rcx, -128(%rsp)                
	leaq	(,%rsi,4), %rcx
	movq	%rcx, -80(%rsp)                 
	vpbroadcastw	.LCPI0_2(%rip), %ymm0   
	vmovdqu	%ymm0, (%rsp)                   
	leaq	32(%r11), %rcx
	movq	%rcx, -104(%rsp)                
	addq	$240, %r11
	movq	%r11, -48(%rsp)                 
	vpxor	%xmm1, %xmm1, %xmm1
	movq	%rsi, -88(%rsp)                 
	movq	%r8, -64(%rsp)                  
	movq	%rax, -96(%rsp)                 
	jmp	.LBB0_2
	.p2align	4, 0x90
.LBB0_1:                                
                                        
	movq	-80(%rsp), %rax                 
	addq	%rax, -112(%rsp)                
	movq	-56(%rsp), %rbp                 
	movq	-64(%rsp), %r8                  
.LBB0_2:                                
                                        
                                        
                                        
                                        
                                        
                                        
                                        
                                        
	cmpq	%r8, %rbp
	jge	.LBB0_24

                                        
	leaq	4(%rbp), %rax
	cmpq	%r8, %rax
	movq	%r8, %rcx
	movq	%rax, -56(%rsp)                 
	cmovlq	%rax, %rcx
	movq	-128(%rsp), %r12                
	movq	-120(%rsp), %r9                 
	cmpq	$0, -72(%rsp)                   
	movq	%rbp, -32(%rsp)                 
	jg	.LBB0_7

                                        
	vmovdqu	(%r10), %ymm3
	vmovdqu	32(%r10), %ymm4
	vmovdqu	64(%r10), %ymm5
	vmovdqu	96(%r10), %ymm6
	vmovdqu	128(%r10), %ymm7
	vmovdqu	160(%r10), %ymm8
	vmovdqu	192(%r10), %ymm9
	vmovdqu	224(%r10), %ymm10
	vmovdqu	256(%r10), %ymm11
	movq	-104(%rsp), %rax                
	movq	-112(%rsp), %rdx                
	movq	%rbp, %rsi
	movq	-88(%rsp), %r11                 
	movq	-96(%rsp), %rbx                 
	jmp	.LBB0_5
	.p2align	4, 0x90
.LBB0_20:                               
                                        
	incq	%rsi
	addq	%r11, %rdx
	addq	$27392, %rax                    
.LBB0_5:                                
                                        
                                        
                                        
                                        
	cmpq	%rcx, %rsi
	jge	.LBB0_6

                                        
	xorl	%edi, %edi
	cmpq	$2560, %rdi                     
	jge	.LBB0_17
	.p2align	4, 0x90
.LBB0_25:                               
                                        
                                        
                                        
	vmovdqu	(%rdx,%rdi), %ymm12
	vmovdqu	%ymm12, (%rbx,%rdi)
	addq	$32, %rdi
	cmpq	$2560, %rdi                     
	jl	.LBB0_25
.LBB0_17:                               
                                        
	movq	%rbx, %rdi
	movq	%rax, %r8
	xorl	%r9d, %r9d
	cmpq	$427, %r9                       
	jg	.LBB0_20
	.p2align	4, 0x90
.LBB0_19:                               
                                        
                                        
                                        
	vbroadcasti128	(%rdi), %ymm12          
	vpshufb	%ymm3, %ymm12, %ymm13
	vpsraw	$8, %ymm13, %ymm13
	vpmullw	%ymm6, %ymm13, %ymm14
	vpmullw	%ymm9, %ymm13, %ymm13
	vpshufb	%ymm4, %ymm12, %ymm15
	vpsraw	$8, %ymm15, %ymm15
	vpmullw	%ymm7, %ymm15, %ymm0
	vpaddw	%ymm0, %ymm14, %ymm0
	vpmullw	%ymm10, %ymm15, %ymm14
	vpaddw	%ymm14, %ymm13, %ymm13
	vpshufb	%ymm5, %ymm12, %ymm12
	vpsraw	$8, %ymm12, %ymm12
	vpmullw	%ymm8, %ymm12, %ymm14
	vpaddw	%ymm0, %ymm14, %ymm0
	vpmullw	%ymm11, %ymm12, %ymm12
	vpaddw	%ymm12, %ymm13, %ymm12
	vmovdqu	(%rsp), %ymm2                   
	vpand	%ymm2, %ymm0, %ymm13
	vpsrlw	$8, %ymm0, %ymm0
	vpand	%ymm2, %ymm12, %ymm14
	vpackuswb	%ymm14, %ymm13, %ymm13
	vpsrlw	$8, %ymm12, %ymm12
	vpackuswb	%ymm12, %ymm0, %ymm0
	vmovdqu	%ymm13, -32(%r8)
	vmovdqu	%ymm0, (%r8)
	incq	%r9
	addq	$64, %r8
	addq	$6, %rdi
	cmpq	$427, %r9                       
	jle	.LBB0_19
	jmp	.LBB0_20
	.p2align	4, 0x90
.LBB0_6:                                
	movq	-128(%rsp), %r12                
	movq	-120(%rsp), %r9                 
	jmp	.LBB0_7
	.p2align	4, 0x90
.LBB0_21:                               
                                        
	movq	-16(%rsp), %r9                  
	incq	%r9
	addq	$17120, %r12                    
	movq	-32(%rsp), %rbp                 
.LBB0_7:                                
                                        
                                        
                                        
                                        
                                        
	cmpq	-24(%rsp), %r9                  
	jge	.LBB0_1

                                        
	movq	%r9, %r11
	shlq	$6, %r11
	movq	%r9, -16(%rsp)                  
	shlq	$7, %r9
	addq	-40(%rsp), %r9                  
	movq	-48(%rsp), %r8                  
	jmp	.LBB0_9
	.p2align	4, 0x90
.LBB0_22:                               
                                        
	vmovdqu	%ymm4, (%r9,%r15)
	vmovdqu	%ymm5, 32(%r9,%r15)
	vmovdqu	%ymm3, 64(%r9,%r15)
	vmovdqu	%ymm0, 96(%r9,%r15)
	incq	%rbp
	addq	$27392, %r8                     
.LBB0_9:                                
                                        
                                        
                                        
                                        
                                        
	cmpq	%rcx, %rbp
	jge	.LBB0_21

                                        
	movq	%rbp, %r15
	imulq	-8(%rsp), %r15                  
	vmovdqu	288(%r10,%r11), %ymm0
	vmovdqu	320(%r10,%r11), %ymm6
	vpslld	$16, %ymm0, %ymm3
	vpsrad	$16, %ymm3, %ymm4
	vpsrad	$16, %ymm0, %ymm5
	vpslld	$16, %ymm6, %ymm0
	vpsrad	$16, %ymm0, %ymm3
	vpsrad	$16, %ymm6, %ymm0
	movq	%r12, %rsi
	movq	%r8, %rdx
	xorl	%r14d, %r14d
	jmp	.LBB0_11
	.p2align	4, 0x90
.LBB0_23:                               
                                        
	vpsllw	$8, %ymm11, %ymm0
	vpsubw	%ymm0, %ymm10, %ymm0
	vpsllw	$8, %ymm9, %ymm2
	vpaddw	%ymm2, %ymm0, %ymm0
	vpand	.LCPI0_0(%rip), %ymm9, %ymm2
	vpaddw	%ymm2, %ymm11, %ymm2
	vpunpcklwd	%ymm2, %ymm2, %ymm3     
	vpunpckhwd	%ymm2, %ymm2, %ymm2     
	vpunpcklwd	%ymm0, %ymm0, %ymm7     
	vpsrad	$16, %ymm7, %ymm7
	vpaddd	%ymm7, %ymm4, %ymm4
	vpsrad	$16, %ymm3, %ymm3
	vpaddd	%ymm3, %ymm5, %ymm5
	vpunpckhwd	%ymm0, %ymm0, %ymm0     
	vpsrad	$16, %ymm0, %ymm0
	vpaddd	%ymm0, %ymm6, %ymm3
	vpsrad	$16, %ymm2, %ymm0
	vmovdqu	32(%rsp), %ymm2                 
	vpaddd	%ymm0, %ymm2, %ymm0
	addq	$2560, %rdx                     
	addq	$1600, %rsi                     
	movq	%rdi, %r14
.LBB0_11:                               
                                        
                                        
                                        
                                        
                                        
	cmpq	$106, %r14
	jg	.LBB0_22

                                        
	vmovdqu	%ymm0, 32(%rsp)                 
	vmovdqa	%ymm3, %ymm6
	leaq	10(%r14), %rdi
	cmpq	$107, %rdi
	movl	$107, %ebx
	cmovlq	%rdi, %rbx
	vpxor	%xmm9, %xmm9, %xmm9
	vpxor	%xmm10, %xmm10, %xmm10
	movq	%rsi, %r13
	movq	%rdx, %rax
	vpxor	%xmm11, %xmm11, %xmm11
	cmpq	%rbx, %r14
	jge	.LBB0_23
	.p2align	4, 0x90
.LBB0_14:                               
                                        
                                        
                                        
                                        
                                        
	vmovdqu	128(%r13), %ymm7
	prefetcht0	2176(%r13)
	vmovdqu	(%r13), %ymm0
	prefetcht0	2048(%r13)
	vbroadcasti128	-240(%rax), %ymm12      
	vbroadcasti128	-208(%rax), %ymm13      
	vpbroadcastd	.LCPI0_1(%rip), %ymm8   
	vpand	%ymm0, %ymm8, %ymm14
	vpshufb	%ymm14, %ymm12, %ymm12
	vpshufb	%ymm14, %ymm13, %ymm13
	vpsllw	$7, %ymm7, %ymm14
	vpcmpgtb	%ymm14, %ymm1, %ymm14
	vpxor	%ymm14, %ymm12, %ymm12
	vpxor	%ymm14, %ymm13, %ymm13
	vpaddw	%ymm12, %ymm10, %ymm10
	vpsrlw	$8, %ymm12, %ymm12
	vpaddw	%ymm12, %ymm11, %ymm11
	vpaddb	%ymm13, %ymm9, %ymm9
	vbroadcasti128	-224(%rax), %ymm12      
	vbroadcasti128	-192(%rax), %ymm13      
	vpsrld	$4, %ymm0, %ymm0
	vpand	%ymm0, %ymm8, %ymm0
	vpshufb	%ymm0, %ymm12, %ymm12
	vpshufb	%ymm0, %ymm13, %ymm0
	vpsllw	$6, %ymm7, %ymm13
	vpcmpgtb	%ymm13, %ymm1, %ymm13
	vpxor	%ymm13, %ymm12, %ymm12
	vpxor	%ymm0, %ymm13, %ymm0
	vpaddb	%ymm0, %ymm9, %ymm0
	vpaddw	%ymm12, %ymm10, %ymm9
	vpsrlw	$8, %ymm12, %ymm10
	vpaddw	%ymm10, %ymm11, %ymm10
	vbroadcasti128	-176(%rax), %ymm11      
	vbroadcasti128	-144(%rax), %ymm13      
	vmovdqu	32(%r13), %ymm14
	vmovdqu	64(%r13), %ymm12
	vpand	%ymm8, %ymm14, %ymm15
	vpshufb	%ymm15, %ymm11, %ymm11
	vpshufb	%ymm15, %ymm13, %ymm13
	vpsllw	$5, %ymm7, %ymm15
	vpcmpgtb	%ymm15, %ymm1, %ymm15
	vpxor	%ymm15, %ymm11, %ymm2
	vpxor	%ymm15, %ymm13, %ymm11
	vpsrlw	$8, %ymm2, %ymm13
	vbroadcasti128	-160(%rax), %ymm15      
	vbroadcasti128	-128(%rax), %ymm3       
	vpsrld	$4, %ymm14, %ymm14
	vpand	%ymm8, %ymm14, %ymm14
	vpshufb	%ymm14, %ymm15, %ymm15
	vpshufb	%ymm14, %ymm3, %ymm3
	vpsllw	$4, %ymm7, %ymm14
	vpcmpgtb	%ymm14, %ymm1, %ymm14
	vpxor	%ymm14, %ymm15, %ymm15
	vpxor	%ymm3, %ymm14, %ymm3
	vpaddb	%ymm3, %ymm11, %ymm3
	vpaddb	%ymm3, %ymm0, %ymm11
	vpaddw	%ymm2, %ymm15, %ymm0
	vpaddw	%ymm0, %ymm9, %ymm9
	vpsrlw	$8, %ymm15, %ymm0
	vpaddw	%ymm0, %ymm13, %ymm0
	vpaddw	%ymm0, %ymm10, %ymm10
	prefetcht0	2112(%r13)
	vbroadcasti128	-112(%rax), %ymm0       
	vbroadcasti128	-80(%rax), %ymm2        
	vpand	%ymm8, %ymm12, %ymm3
	vpshufb	%ymm3, %ymm0, %ymm0
	vpshufb	%ymm3, %ymm2, %ymm2
	vpsllw	$3, %ymm7, %ymm3
	vpcmpgtb	%ymm3, %ymm1, %ymm3
	vpxor	%ymm3, %ymm0, %ymm0
	vpxor	%ymm3, %ymm2, %ymm2
	vpsrlw	$8, %ymm0, %ymm3
	vbroadcasti128	-96(%rax), %ymm13       
	vbroadcasti128	-64(%rax), %ymm14       
	vpsrld	$4, %ymm12, %ymm12
	vpand	%ymm8, %ymm12, %ymm12
	vpshufb	%ymm12, %ymm13, %ymm13
	vpshufb	%ymm12, %ymm14, %ymm12
	vpsllw	$2, %ymm7, %ymm14
	vpcmpgtb	%ymm14, %ymm1, %ymm14
	vpxor	%ymm14, %ymm13, %ymm13
	vpxor	%ymm14, %ymm12, %ymm12
	vpaddb	%ymm2, %ymm12, %ymm2
	vpaddw	%ymm0, %ymm13, %ymm0
	vpsrlw	$8, %ymm13, %ymm12
	vpaddw	%ymm3, %ymm12, %ymm3
	vmovdqu	96(%r13), %ymm12
	vbroadcasti128	-48(%rax), %ymm13       
	vbroadcasti128	-16(%rax), %ymm14       
	vpand	%ymm8, %ymm12, %ymm15
	vpshufb	%ymm15, %ymm13, %ymm13
	vpshufb	%ymm15, %ymm14, %ymm14
	vpaddw	%ymm7, %ymm7, %ymm15
	vpcmpgtb	%ymm15, %ymm1, %ymm15
	vpxor	%ymm15, %ymm13, %ymm13
	vpxor	%ymm15, %ymm14, %ymm14
	vpaddb	%ymm2, %ymm14, %ymm2
	vpaddb	%ymm2, %ymm11, %ymm2
	vpaddw	%ymm0, %ymm13, %ymm0
	vpaddw	%ymm0, %ymm9, %ymm0
	vpsrlw	$8, %ymm13, %ymm9
	vpaddw	%ymm3, %ymm9, %ymm3
	vpaddw	%ymm3, %ymm10, %ymm3
	vbroadcasti128	-32(%rax), %ymm9        
	vbroadcasti128	(%rax), %ymm10          
	vpsrld	$4, %ymm12, %ymm11
	vpand	%ymm8, %ymm11, %ymm8
	vpshufb	%ymm8, %ymm9, %ymm9
	vpshufb	%ymm8, %ymm10, %ymm8
	vpcmpgtb	%ymm7, %ymm1, %ymm7
	vpxor	%ymm7, %ymm9, %ymm11
	vpxor	%ymm7, %ymm8, %ymm7
	vpaddb	%ymm7, %ymm2, %ymm9
	vpaddw	%ymm0, %ymm11, %ymm10
	vpsrlw	$8, %ymm11, %ymm0
	vpaddw	%ymm0, %ymm3, %ymm11
	incq	%r14
	addq	$256, %rax                      
	addq	$160, %r13
	cmpq	%rbx, %r14
	jl	.LBB0_14
	jmp	.LBB0_23
.LBB0_24:                               
	addq	$72, %rsp
	.cfi_def_cfa_offset 56
	popq	%rbx
	.cfi_def_cfa_offset 48
	popq	%r12
	.cfi_def_cfa_offset 40
	popq	%r13
	.cfi_def_cfa_offset 32
	popq	%r14
	.cfi_def_cfa_offset 24
	popq	%r15
	.cfi_def_cfa_offset 16
	popq	%rbp
	.cfi_def_cfa_offset 8
	vzeroupper
	retq
.Lfunc_end0:
	.size	rsr_m0_lut_avx2, .Lfunc_end0-rsr_m0_lut_avx2
	.cfi_endproc
                                        
	.section	".note.GNU-stack","",@progbits
